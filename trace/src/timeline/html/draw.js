// Draws the visible part of the lanes as SVG.
const [LEFT, RIGHT, TOP, LANE, ROW, COLUMN] = [142, 16, 30, 44, 13, 4];
// A lane with more than SPANS states shows them in columns. A kind with more than one mark for each
// APART pixels is counted in columns.
const SPANS = 400;
const APART = 9;
const RULES = 100;

const escape = (text) => text.replace(/[&<>"]/g, (it) => `&#${it.charCodeAt(0)};`);

function band(look, middle) {
  const height = { rest: 3, ready: 18 }[look] ?? 14;
  return [middle - height / 2, height];
}

// `view` has the first visible step and lane, the number of each, and the width of the picture.
function plotOf(view) {
  const width = view.width - LEFT - RIGHT;
  const scale = width / view.steps;
  return {
    width,
    columns: Math.max(Math.ceil(width / COLUMN), 1),
    x: (step) => LEFT + (step + 0.5 - view.from) * scale,
    step: (x) => view.from - 0.5 + (x - LEFT) / scale,
  };
}

function drawSpans(lane, view, plot, middle) {
  const { from, to, state } = lane.spans;
  const first = search(to, view.from - 1);
  const last = search(from, view.from + view.steps + 1);
  const clip = (x) => Math.min(Math.max(x, LEFT), LEFT + plot.width);
  const rect = (look, left, right) => {
    const [y, height] = band(look, middle);
    return right > left ? `<rect class="${look}" x="${left.toFixed(1)}" y="${y}" width="${(right - left).toFixed(1)}" height="${height}"/>` : '';
  };
  let svg = '';
  if (last - first <= SPANS) {
    for (let it = first; it < last; it += 1) {
      svg += rect(STATES[state[it]].look, clip(plot.x(from[it])), clip(plot.x(to[it])));
    }
    return svg;
  }
  const times = LOOKS.map(() => new Float64Array(plot.columns));
  for (let it = first; it < last; it += 1) {
    const [left, right] = [clip(plot.x(from[it])), clip(plot.x(to[it]))];
    const time = times[LOOKS.indexOf(STATES[state[it]].look)];
    for (let column = Math.floor((left - LEFT) / COLUMN); column < plot.columns; column += 1) {
      const begin = LEFT + column * COLUMN;
      if (begin >= right) break;
      time[column] += Math.min(right, begin + COLUMN) - Math.max(left, begin);
    }
  }
  let [begin, before] = [0, -1];
  for (let column = 0; column <= plot.columns; column += 1) {
    let longest = -1;
    LOOKS.forEach((_, look) => {
      if (times[look][column] > (times[longest]?.[column] ?? 0)) longest = look;
    });
    if (longest !== before) {
      if (before >= 0) svg += rect(LOOKS[before], LEFT + begin * COLUMN, clip(LEFT + column * COLUMN));
      [begin, before] = [column, longest];
    }
  }
  return svg;
}

function visibleMarks(lane, view) {
  return [search(lane.marks.at, view.from - 0.5), search(lane.marks.at, view.from + view.steps - 0.5)];
}

function drawMarks(lane, view, plot, middle) {
  const { at, kind } = lane.marks;
  const [first, last] = visibleMarks(lane, view);
  let svg = '';
  const all = count(lane, first, last);
  const isCrowd = (it) => all[it] > plot.width / APART;
  const columns = KINDS.map((_, it) => (isCrowd(it) ? new Uint32Array(plot.columns + 1) : null));
  let drawn = 0;
  for (let it = first; it < last; it += 1) {
    const x = plot.x(at[it]);
    if (isCrowd(kind[it])) {
      columns[kind[it]][Math.floor((x - LEFT) / COLUMN)] += 1;
    } else {
      const { shape, row } = KINDS[kind[it]];
      svg += `<use class="${shape} mark" href="#${shape}" x="${x.toFixed(1)}" y="${middle + ROW * row}"/>`;
      drawn += 1;
    }
  }
  columns.forEach((counts, it) => {
    if (counts) svg = drawCrowd(KINDS[it], counts, middle) + svg;
  });
  return [svg, drawn];
}

function drawCrowd({ shape, row }, counts, middle) {
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  const [base, room] = { '-1': [middle - 7, -12], 1: [middle + 7, 12], 0: [middle + 6, -14] }[row];
  let path = '';
  counts.forEach((number, column) => {
    if (number === 0) return;
    const height = Math.sign(room) * Math.max(number / most * Math.abs(room), 1);
    path += `M${LEFT + column * COLUMN} ${base}h3v${height.toFixed(1)}h-3z`;
  });
  return `<path class="crowd crowd-${shape}" d="${path}"/>`;
}

function drawAxis(view, plot, bottom) {
  let svg = `<text class="faint" x="${LEFT - 14}" y="19" text-anchor="end">line of the trace</text>`;
  const [low, high] = [lineOf(view.from), lineOf(view.from + view.steps)];
  const least = Math.max((high - low) / Math.max(plot.width / 80, 1), 1);
  const unit = 10 ** Math.floor(Math.log10(least));
  const every = [1, 2, 5, 10].map((it) => it * unit).find((it) => it >= least);
  let before = -Infinity;
  for (let line = Math.ceil(low / every) * every; line <= high; line += every) {
    const x = plot.x(search(lines, line));
    if (x - before >= 52 && x >= LEFT && x <= LEFT + plot.width) {
      svg += `<path class="grid" d="M${x.toFixed(1)} ${TOP - 4}V${bottom}"/><text class="faint" x="${x.toFixed(1)}" y="19" text-anchor="middle">${number(line)}</text>`;
      before = x;
    }
  }
  const overflow = KINDS.findIndex(({ shape }) => shape === 'overflow');
  const [first, last] = lanes.length ? visibleMarks(lanes[0], view) : [0, 0];
  for (let it = first, left = RULES; it < last && left > 0; it += 1) {
    if (lanes[0].marks.kind[it] === overflow) {
      svg += `<path class="rule" d="M${plot.x(lanes[0].marks.at[it]).toFixed(1)} ${TOP}V${bottom}"/>`;
      left -= 1;
    }
  }
  return svg;
}

// Returns the picture, and the number of marks that it shows one by one.
function draw(view, chosen) {
  const plot = plotOf(view);
  const shown = lanes.slice(view.lane, view.lane + view.lanes);
  const height = TOP + LANE * shown.length + 8;
  let [back, front, drawn] = ['', '', 0];
  shown.forEach((lane, place) => {
    const [top, middle] = [TOP + LANE * place, TOP + LANE * (place + 0.5)];
    if ((view.lane + place) % 2 === 0) back += `<rect class="stripe" x="0" y="${top}" width="${view.width}" height="${LANE}"/>`;
    const [marks, single] = drawMarks(lane, view, plot, middle);
    drawn += single;
    front += `<g class="lane"><text class="name" x="14" y="${middle - 2}">${escape(lane.name)}</text><text class="faint" x="14" y="${middle + 12}">${escape(lane.about)}</text><g>${drawSpans(lane, view, plot, middle)}${marks}</g></g>`;
    if (chosen.isShown && view.lane + place === chosen.lane) {
      front += `<rect class="chosen" x="2" y="${top + 1}" width="${view.width - 4}" height="${LANE - 2}" rx="4"/>`;
      const x = chosen.step === null ? 0 : plot.x(chosen.step);
      if (x >= LEFT && x <= LEFT + plot.width) front += `<path class="cursor" d="M${x.toFixed(1)} ${top + 2}v${LANE - 4}"/>`;
    }
  });
  const axis = drawAxis(view, plot, TOP + LANE * shown.length);
  return [`<svg xmlns="http://www.w3.org/2000/svg" width="${view.width}" height="${height}" aria-hidden="true">${back}${axis}${front}</svg>`, drawn];
}
