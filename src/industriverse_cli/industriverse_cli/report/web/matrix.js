"use strict";
// Small linear algebra for the viewer. Matrices are 4 x 4, column by column, as WebGL takes them.

function multiply(a, b) {
  const out = new Float32Array(16);
  for (let column = 0; column < 4; column++) {
    for (let row = 0; row < 4; row++) {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += a[k * 4 + row] * b[column * 4 + k];
      out[column * 4 + row] = sum;
    }
  }
  return out;
}

function perspective(fieldOfView, aspect, near, far) {
  const f = 1 / Math.tan(fieldOfView / 2);
  const out = new Float32Array(16);
  out[0] = f / aspect;
  out[5] = f;
  out[10] = (far + near) / (near - far);
  out[11] = -1;
  out[14] = (2 * far * near) / (near - far);
  return out;
}

// World to view: yaw turns about the vertical axis, pitch tilts (90 degrees = from above).
function orbit(camera) {
  const [cy, sy] = [Math.cos(camera.yaw), Math.sin(camera.yaw)];
  const [cp, sp] = [Math.cos(camera.pitch), Math.sin(camera.pitch)];
  const right = [cy, -sy, 0];
  const up = [sp * sy, sp * cy, cp];
  const back = [-cp * sy, -cp * cy, sp];
  const out = new Float32Array(16);
  [right, up, back].forEach((axis, row) => {
    for (let k = 0; k < 3; k++) out[k * 4 + row] = axis[k];
    out[12 + row] = -(axis[0] * camera.target[0] + axis[1] * camera.target[1] + axis[2] * camera.target[2]);
  });
  out[14] -= camera.distance;
  out[15] = 1;
  return { matrix: out, right, up };
}

function hexColour(text) {
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16) / 255);
}
