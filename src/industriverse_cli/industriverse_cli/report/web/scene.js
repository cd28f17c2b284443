// The tool path in WebGL 2: every piece is one instance of a strip that faces the viewer and is lit like a round bead.

const RECORD_BYTES = 16;
const FIELD_OF_VIEW = 0.52;

const PIECE_VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec3 start;
layout(location = 1) in vec3 end;
layout(location = 2) in float layer;
layout(location = 3) in vec4 bytes;
uniform mat4 view, projection;
uniform vec3 origin;
uniform float step_m, halfWidth, thinnest, near;
uniform vec2 viewport, layers;
uniform uint shown;
uniform int mode;
uniform vec3 ramp[7], kinds[16], none;
out vec3 colour;
out vec3 across;
out vec3 along;
vec3 ramped(float value) {
  if (value > 254.5) return none;
  float at = value / 254.0 * 6.0;
  int below = min(int(at), 5);
  return mix(ramp[below], ramp[below + 1], at - float(below));
}
void main() {
  uint kind = uint(bytes.z);
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  if (kind > 31u || (shown & (1u << kind)) == 0u || layer < layers.x || layer > layers.y) return;
  vec4 a = view * vec4(origin + step_m * start, 1.0), b = view * vec4(origin + step_m * end, 1.0);
  if (a.z > -near && b.z > -near) return;
  if (a.z > -near) a = mix(b, a, (b.z + near) / (b.z - a.z));
  if (b.z > -near) b = mix(a, b, (a.z + near) / (a.z - b.z));
  vec4 ca = projection * a, cb = projection * b;
  vec2 pa = ca.xy / ca.w * viewport * 0.5, pb = cb.xy / cb.w * viewport * 0.5;
  vec2 way = pb - pa;
  float size = length(way);
  vec2 ahead = size > 1e-4 ? way / size : vec2(1.0, 0.0);
  vec2 side = vec2(-ahead.y, ahead.x);
  bool atEnd = gl_VertexID >= 2;
  float which = (gl_VertexID & 1) == 0 ? -1.0 : 1.0;
  vec4 clip = atEnd ? cb : ca;
  float wide = kind == 0u ? thinnest : max(thinnest, halfWidth * projection[1][1] * viewport.y * 0.5 / clip.w);
  vec2 pixel = (atEnd ? pb + ahead * wide : pa - ahead * wide) + side * which * wide;
  gl_Position = vec4(pixel / viewport * 2.0 * clip.w, clip.zw);
  across = vec3(side, which);
  along = vec3(atEnd ? size + wide : -wide, size, wide);
  if (kind == 0u) colour = none;
  else if (mode == 2) colour = kinds[kind % 16u];
  else colour = ramped(mode == 0 ? bytes.x : bytes.y);
}`;

const PIECE_FRAGMENT = `#version 300 es
precision highp float;
in vec3 colour;
in vec3 across;
in vec3 along;
out vec4 result;
void main() {
  float u = clamp(across.z, -1.0, 1.0);
  float beyond = max(-along.x, along.x - along.y) / along.z;
  float inside = 1.0 - u * u - (beyond > 0.0 ? beyond * beyond : 0.0);
  if (inside <= 0.0) discard;
  vec3 normal = vec3(across.xy * u, sqrt(inside));
  float lit = max(0.0, dot(normalize(normal), normalize(vec3(-0.45, 0.55, 0.70))));
  result = vec4(colour * (0.52 + 0.56 * lit), 1.0);
}`;

const PLAIN_VERTEX = `#version 300 es
precision highp float;
layout(location = 0) in vec3 place;
uniform mat4 view, projection;
uniform float dot_px;
void main() {
  gl_Position = projection * view * vec4(place, 1.0);
  gl_PointSize = dot_px;
}`;

const PLAIN_FRAGMENT = `#version 300 es
precision highp float;
uniform vec4 paint;
uniform bool round;
out vec4 result;
void main() {
  float out_of = round ? length(gl_PointCoord - 0.5) * 2.0 : 0.0;
  if (out_of > 1.0) discard;
  result = out_of > 0.62 ? vec4(1.0, 1.0, 1.0, paint.a) : paint;
}`;

function buildProgram(gl, vertex, fragment) {
  const program = gl.createProgram();
  [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]].forEach(([kind, text]) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  });
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  const at = {};
  const count = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS);
  for (let index = 0; index < count; index++) {
    const name = gl.getActiveUniform(program, index).name.replace("[0]", "");
    at[name] = gl.getUniformLocation(program, name);
  }
  return { program, at };
}

// Lines of the bed: every 10 mm, the frame twice as bright by being drawn twice.
function bedLines(bed) {
  const [x0, x1, y0, y1] = bed;
  const lines = [];
  for (let x = Math.ceil(x0 / 0.01); x * 0.01 <= x1 + 1e-9; x++) lines.push(x * 0.01, y0, 0, x * 0.01, y1, 0);
  for (let y = Math.ceil(y0 / 0.01); y * 0.01 <= y1 + 1e-9; y++) lines.push(x0, y * 0.01, 0, x1, y * 0.01, 0);
  const frame = [x0, y0, 0, x1, y0, 0, x1, y0, 0, x1, y1, 0, x1, y1, 0, x0, y1, 0, x0, y1, 0, x0, y0, 0];
  return { grid: new Float32Array(lines), frame: new Float32Array(frame) };
}

// Returns null where there is no WebGL 2; else an object with draw(state).
function makeScene(canvas, data, records) {
  const gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
  if (!gl) return null;
  const pieces = buildProgram(gl, PIECE_VERTEX, PIECE_FRAGMENT);
  const plain = buildProgram(gl, PLAIN_VERTEX, PLAIN_FRAGMENT);
  if (!pieces || !plain) return null;

  const path = gl.createVertexArray();
  gl.bindVertexArray(path);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ARRAY_BUFFER, records, gl.STATIC_DRAW);
  const fields = [[3, gl.SHORT, 0], [3, gl.SHORT, RECORD_BYTES], [1, gl.UNSIGNED_SHORT, RECORD_BYTES + 6],
    [4, gl.UNSIGNED_BYTE, RECORD_BYTES + 8]];
  fields.forEach(([size, type, offset], place) => {
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, false, RECORD_BYTES, offset);
    gl.vertexAttribDivisor(place, 1);
  });

  const dots = gl.createVertexArray();
  const dotBuffer = gl.createBuffer();
  gl.bindVertexArray(dots);
  gl.bindBuffer(gl.ARRAY_BUFFER, dotBuffer);
  gl.enableVertexAttribArray(0);
  gl.vertexAttribPointer(0, 3, gl.FLOAT, false, 0, 0);
  const bed = bedLines(data.bed_m);

  function drawPlain(points, kind, paint, size) {
    gl.bindVertexArray(dots);
    gl.bindBuffer(gl.ARRAY_BUFFER, dotBuffer);
    gl.bufferData(gl.ARRAY_BUFFER, points, gl.DYNAMIC_DRAW);
    gl.uniform4fv(plain.at.paint, paint);
    gl.uniform1f(plain.at.dot_px, size);
    gl.uniform1i(plain.at.round, kind === gl.POINTS ? 1 : 0);
    gl.drawArrays(kind, 0, points.length / 3);
  }

  function draw(state) {
    const { view, projection, near } = state.matrices;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);

    gl.useProgram(plain.program);
    gl.uniformMatrix4fv(plain.at.view, false, view);
    gl.uniformMatrix4fv(plain.at.projection, false, projection);
    gl.depthMask(false);
    drawPlain(bed.grid, gl.LINES, [0.62, 0.68, 0.80, 0.13], 1);
    drawPlain(bed.frame, gl.LINES, [0.72, 0.78, 0.90, 0.45], 1);
    gl.depthMask(true);

    gl.useProgram(pieces.program);
    gl.uniformMatrix4fv(pieces.at.view, false, view);
    gl.uniformMatrix4fv(pieces.at.projection, false, projection);
    gl.uniform3fv(pieces.at.origin, data.path.origin_m);
    gl.uniform1f(pieces.at.step_m, data.path.step_m);
    gl.uniform1f(pieces.at.halfWidth, data.width_m / 2);
    gl.uniform1f(pieces.at.thinnest, 0.6 * state.ratio);
    gl.uniform1f(pieces.at.near, near);
    gl.uniform2f(pieces.at.viewport, canvas.width, canvas.height);
    gl.uniform2f(pieces.at.layers, state.layers[0], state.layers[1]);
    gl.uniform1ui(pieces.at.shown, state.shown);
    gl.uniform1i(pieces.at.mode, { energy: 0, speed: 1, feature: 2 }[state.mode]);
    gl.uniform3fv(pieces.at.ramp, data.ramp.flatMap(hexColour));
    gl.uniform3fv(pieces.at.kinds, data.feature_colours.flatMap(hexColour));
    gl.uniform3fv(pieces.at.none, hexColour(data.no_colour));
    gl.bindVertexArray(path);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, Math.max(0, Math.min(state.reached, data.path.count - 1)));

    gl.useProgram(plain.program);
    gl.disable(gl.DEPTH_TEST);
    if (state.marks.error.length) drawPlain(state.marks.error, gl.POINTS, [0.86, 0.15, 0.20, 1], 13 * state.ratio);
    if (state.marks.warning.length) drawPlain(state.marks.warning, gl.POINTS, [0.95, 0.65, 0.10, 1], 11 * state.ratio);
    if (state.head) drawPlain(state.head, gl.POINTS, [0.10, 0.72, 0.95, 1], 13 * state.ratio);
  }
  return { draw };
}
