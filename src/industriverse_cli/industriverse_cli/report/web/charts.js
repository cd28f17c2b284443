// Read-outs of the charts: a line under the pointer and what is there. A click moves the tool path to that moment.

function addReadOut(chart, describe, seek) {
  const axes = chart.querySelector("svg.axes");
  const line = document.createElement("div");
  line.className = "cursor";
  const box = document.createElement("div");
  box.className = "readout";
  line.hidden = box.hidden = true;
  chart.append(line, box);

  function place(share) {
    line.hidden = false;
    line.style.left = `${axes.getBoundingClientRect().left - chart.getBoundingClientRect().left + share * axes.getBoundingClientRect().width}px`;
  }

  function shareOf(event) {
    const room = axes.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - room.left) / Math.max(1, room.width)));
  }

  axes.addEventListener("pointermove", (event) => {
    const share = shareOf(event);
    place(share);
    box.replaceChildren(...describe(share).map((text, number) => {
      const made = document.createElement(number ? "span" : "strong");
      made.textContent = text;
      return made;
    }));
    box.hidden = false;
    const room = chart.getBoundingClientRect();
    const x = event.clientX - room.left;
    box.style.left = `${x + 14 + box.offsetWidth > room.width ? Math.max(0, x - 14 - box.offsetWidth) : x + 14}px`;
    box.style.top = "8px";
  });
  axes.addEventListener("pointerleave", () => {
    line.hidden = box.hidden = true;
  });
  if (seek) axes.addEventListener("click", (event) => seek(shareOf(event)));
  return { place, hide: () => (line.hidden = true) };
}

function spoken(name) {
  return name === "hotend" ? "hot end" : name.replaceAll("_", " ");
}

function startTimeChart(chart) {
  const { end_s: end, watts, celsius, order } = page.power;
  const count = Object.values(watts)[0].length;
  const describe = (share) => {
    const bin = Math.min(count - 1, Math.floor(share * count));
    const total = Object.values(watts).reduce((sum, column) => sum + column[bin], 0);
    const parts = order.filter((name) => watts[name]).map((name) => `${spoken(name)} ${watts[name][bin].toFixed(1)} W`);
    const warm = Object.entries(celsius).map(([name, column]) => `${spoken(name)} ${column[bin].toFixed(0)} °C`);
    return [`${niceTime(share * end)} · ${total.toFixed(0)} W`, ...(chart.dataset.chart === "power" ? parts : []), ...warm];
  };
  const cursor = addReadOut(chart, describe, (share) => page.seek && page.seek(share * end));
  watchers.push((seconds) => (seconds === null ? cursor.hide() : cursor.place(seconds / end)));
}

function startLayerChart(chart) {
  const { joules, mm3, seconds } = page.layer_energy;
  const noun = page.kind === "mill" ? "level" : "layer";
  const at = (share) => Math.min(joules.length - 1, Math.floor(share * joules.length));
  addReadOut(chart, (share) => {
    const layer = at(share);
    const lines = [`${noun} ${layer + 1}, z ${(page.layers_m[layer] * 1e3).toFixed(2)} mm`, `${niceNumber(joules[layer])} J`];
    if (mm3[layer] > 0) lines.push(`${niceNumber(joules[layer] / mm3[layer])} J/mm³ with travel`);
    lines.push(niceTime(seconds[layer]));
    return lines;
  }, (share) => page.seekLayer && page.seekLayer(at(share)));
}

window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
document.querySelectorAll("[data-chart]").forEach((chart) => {
  if (chart.dataset.chart === "layers") startLayerChart(chart);
  else if (page.power) startTimeChart(chart);
});
