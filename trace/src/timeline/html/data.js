// The lanes, decoded from the data in the page.
const data = JSON.parse(document.getElementById('data').textContent);
const KINDS = data.kinds.map(([shape, name, row]) => ({ shape, name, row }));
const STATES = data.states.map(([name, look]) => ({ name, look }));
const LOOKS = data.looks.map(([look]) => look);
const LEGEND = new Map(data.looks);

function sums(deltas) {
  const all = new Uint32Array(deltas.length);
  let sum = 0;
  deltas.forEach((delta, place) => { all[place] = sum += delta; });
  return all;
}

const lines = sums(data.lines);
const STEPS = Math.max(lines.length, 1);
const lanes = data.lanes.map((lane) => {
  const spans = { from: [], to: [], state: [] };
  for (let place = 0, at = 0; place < lane.spans.length; place += 3) {
    const from = at + lane.spans[place];
    at = from + lane.spans[place + 1];
    spans.from.push(from);
    spans.to.push(at);
    spans.state.push(lane.spans[place + 2]);
  }
  const marks = { at: [], kind: [], text: [] };
  for (let place = 0, at = 0; place < lane.marks.length; place += 3) {
    at += lane.marks[place];
    marks.at.push(at);
    marks.kind.push(lane.marks[place + 1]);
    marks.text.push(lane.marks[place + 2]);
  }
  return { name: lane.name, about: lane.about, spans, marks };
});
const { texts } = data;

// The index of the first number that is not below `wanted`.
function search(numbers, wanted) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low;
}

const number = (it) => it.toLocaleString('en');
const lineOf = (step) => lines[Math.min(Math.max(Math.floor(step), 0), lines.length - 1)] ?? 1;

function markTitle(marks, place) {
  const text = texts[marks.text[place]];
  return KINDS[marks.kind[place]].name + (text ? `: ${text}` : '') + `, line ${number(lineOf(marks.at[place]))}`;
}

function stateTitle(lane, step) {
  const place = search(lane.spans.to, step + 0.001);
  const from = lane.spans.from[place];
  if (from === undefined || from > step) return `not bound, line ${number(lineOf(step))}`;
  const { name } = STATES[lane.spans.state[place]];
  return `${name}, lines ${number(lineOf(from))} to ${number(lineOf(lane.spans.to[place]))}`;
}

function count(lane, first, last) {
  const counts = new Array(KINDS.length).fill(0);
  for (let place = first; place < last; place += 1) counts[lane.marks.kind[place]] += 1;
  return counts;
}
