// Zoom, pan, and the text for what is under the pointer.
const figure = document.getElementById('figure');
const detail = document.getElementById('detail');
const where = document.getElementById('where');
const LEAST = Math.min(8, STEPS);

const view = { from: 0, steps: STEPS, lane: 0, lanes: 1, width: 800 };
const chosen = { lane: 0, step: null, mark: null, isShown: false };

function clamp() {
  view.steps = Math.min(Math.max(view.steps, LEAST), STEPS);
  view.from = Math.min(Math.max(view.from, 0), STEPS - view.steps);
  view.lane = Math.min(Math.max(view.lane, 0), Math.max(lanes.length - view.lanes, 0));
}

let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    view.width = Math.max(figure.clientWidth, 400);
    view.lanes = Math.max(Math.min(lanes.length, Math.floor((innerHeight * 0.7) / LANE)), Math.min(lanes.length, 4));
    clamp();
    const [svg, drawn] = draw(view, chosen);
    figure.innerHTML = svg;
    const [low, high] = [lineOf(view.from), lineOf(view.from + view.steps - 1)];
    const some = view.lanes < lanes.length ? ` · lanes ${view.lane + 1} to ${view.lane + view.lanes} of ${lanes.length}` : '';
    where.textContent = `lines ${number(low)} to ${number(high)}${some}`;
    Object.assign(figure.dataset, { from: view.from, steps: view.steps, lane: view.lane, lanes: view.lanes, marks: drawn, chosen: chosen.lane });
  });
}

function zoom(factor, around) {
  const middle = around ?? (chosen.step ?? view.from + view.steps / 2);
  const inside = middle >= view.from && middle <= view.from + view.steps;
  const at = inside ? (middle - view.from) / view.steps : 0.5;
  const fixed = inside ? middle : view.from + view.steps / 2;
  view.steps = Math.min(Math.max(view.steps * factor, LEAST), STEPS);
  view.from = fixed - at * view.steps;
}

function choose(lane) {
  chosen.lane = Math.min(Math.max(lane, 0), lanes.length - 1);
  chosen.step = chosen.mark = null;
  view.lane = Math.min(Math.max(view.lane, chosen.lane - view.lanes + 1), chosen.lane);
  const { name, about } = lanes[chosen.lane];
  detail.textContent = `${name} (${about})`;
}

// Moves to another mark of the chosen lane.
function walk(by) {
  const lane = lanes[chosen.lane];
  const { at } = lane.marks;
  const [first, last] = visibleMarks(lane, view);
  const next = chosen.mark === null ? (by > 0 ? first : last - 1) : chosen.mark + by;
  if (next < 0 || next >= at.length) return;
  chosen.mark = next;
  chosen.step = at[next];
  if (chosen.step < view.from || chosen.step >= view.from + view.steps) view.from = chosen.step - view.steps / 2;
  detail.textContent = `${lane.name}: ${markTitle(lane.marks, next)}`;
}

const KEYS = {
  '+': () => zoom(0.5),
  '=': () => zoom(0.5),
  '-': () => zoom(2),
  0: () => { [view.from, view.steps] = [0, STEPS]; },
  ArrowLeft: () => { view.from -= view.steps / 8; },
  ArrowRight: () => { view.from += view.steps / 8; },
  ArrowUp: () => choose(chosen.lane - 1),
  ArrowDown: () => choose(chosen.lane + 1),
  PageUp: () => choose(chosen.lane - view.lanes),
  PageDown: () => choose(chosen.lane + view.lanes),
  Home: () => { view.from = 0; },
  End: () => { view.from = STEPS; },
  n: () => walk(1),
  p: () => walk(-1),
};

function press(key) {
  const act = KEYS[key];
  if (!act || lanes.length === 0) return false;
  act();
  chosen.isShown = true;
  clamp();
  redraw();
  return true;
}

figure.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (press(event.key)) event.preventDefault();
});

figure.addEventListener('focus', () => {
  chosen.isShown ||= figure.matches(':focus-visible');
  redraw();
});

document.querySelector('.controls').addEventListener('click', (event) => {
  const key = event.target.dataset?.key;
  if (key) press(key);
});

// What is under the pointer: the nearest mark, a column of marks, or the state.
function pointed(event) {
  const box = figure.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left - figure.clientLeft, event.clientY - box.top - figure.clientTop];
  const place = Math.floor((y - TOP) / LANE);
  const lane = lanes[view.lane + place];
  if (x < LEFT || y < TOP || place >= view.lanes || !lane) return null;
  const plot = plotOf(view);
  const reach = 8 * view.steps / plot.width;
  const step = plot.step(x);
  const [low, high] = [search(lane.marks.at, step - reach), search(lane.marks.at, step + reach + 0.001)];
  if (high - low > 12) {
    const counts = count(lane, low, high).map((many, kind) => (many ? `${number(many)} ${KINDS[kind].name}` : ''));
    return { lane, step, text: `${counts.filter(Boolean).join(', ')} around line ${number(lineOf(step))}` };
  }
  const row = (y - TOP - LANE * (place + 0.5)) / ROW;
  let [nearest, least] = [null, Infinity];
  for (let it = low; it < high; it += 1) {
    const distance = Math.hypot((lane.marks.at[it] - step) / reach, KINDS[lane.marks.kind[it]].row - row);
    if (distance < least) [nearest, least] = [it, distance];
  }
  const text = nearest !== null && least < 1.1 ? markTitle(lane.marks, nearest) : stateTitle(lane, Math.max(Math.round(step), 0));
  return { lane, step, text };
}

let drag = null;
figure.addEventListener('pointerdown', (event) => {
  if (event.button !== 0) return;
  drag = { x: event.clientX, from: view.from };
  figure.setPointerCapture(event.pointerId);
  figure.classList.add('drags');
});
figure.addEventListener('pointermove', (event) => {
  if (drag) {
    view.from = drag.from - (event.clientX - drag.x) * view.steps / plotOf(view).width;
    redraw();
    return;
  }
  const it = pointed(event);
  if (it) detail.textContent = `${it.lane.name}: ${it.text}`;
});
for (const end of ['pointerup', 'pointercancel']) {
  figure.addEventListener(end, () => {
    drag = null;
    figure.classList.remove('drags');
  });
}
figure.addEventListener('wheel', (event) => {
  if (event.ctrlKey || event.metaKey) {
    const box = figure.getBoundingClientRect();
    zoom(2 ** (event.deltaY / 240), plotOf(view).step(event.clientX - box.left));
  } else if (event.deltaX !== 0) {
    view.from += event.deltaX * view.steps / plotOf(view).width;
  } else {
    return;
  }
  event.preventDefault();
  redraw();
}, { passive: false });

// The legend: the bands and marks of this trace.
function legend() {
  const looks = new Set();
  const kinds = new Set();
  for (const lane of lanes) {
    for (const it of lane.spans.state) looks.add(STATES[it].look);
    for (const it of lane.marks.kind) kinds.add(it);
  }
  const bands = LOOKS.filter((look) => looks.has(look)).map((look) => {
    const [y, height] = band(look, 8);
    return `<li><svg width="28" height="16" aria-hidden="true"><rect class="${look}" y="${y}" width="28" height="${height}"/></svg>${LEGEND.get(look)}</li>`;
  });
  const marks = KINDS.filter((_, it) => kinds.has(it)).map(({ shape, name }) => `<li><svg width="18" height="18" viewBox="-9 -9 18 18" aria-hidden="true"><use class="${shape}" href="#${shape}"/></svg>${name}</li>`);
  document.getElementById('legend').innerHTML = bands.concat(marks).join('');
}

legend();
redraw();
addEventListener('resize', redraw);
