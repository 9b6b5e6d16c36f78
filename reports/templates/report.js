// What a reader can do with the page: sort, filter and save tables, see raw samples, copy commands.
// Without this script, and in print, everything is still there to read.
(() => {
"use strict";
const FILTER_FROM = 9, ABSENT = "–";
const PLAIN = /^[+−-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?$/;
const NUMBER = /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/;

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
function draw(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

async function inflated(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

// CSV as RFC 4180 has it, and as `sambench report --format csv` writes it.
const guarded = (text) => (/^[=+\-@\t\r]/.test(text) && !NUMBER.test(text) ? `'${text}` : text);
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
function save(name, lines) {
  const text = lines.map((line) => line.map(quoted).join(",") + "\r\n").join("");
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `${name}.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// A value's text without the mark of its footnote.
function textOf(cell) {
  let text = "";
  for (const node of cell.childNodes) if (node.nodeName !== "SUP") text += node.textContent;
  return text.trim();
}
function numberOf(cell) {
  if (cell.dataset.n !== undefined) return Number(cell.dataset.n);
  const found = /^[^\d+−-]*([+−-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)/.exec(textOf(cell));
  return found ? Number(found[2].replaceAll(",", "")) * (found[1] === "−" || found[1] === "-" ? -1 : 1) : NaN;
}
const words = new Intl.Collator("en", { numeric: true });

class Sheet {
  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.heads = [...table.tHead.rows[0].cells];
    this.rest = document.querySelector(`[data-rest-of="${CSS.escape(table.id)}"]`);
    this.rows = [...this.body.rows];
    this.titles = this.heads.map((head) => head.textContent.trim());
    this.sorted = { column: -1, order: 0 };
    this.heads.forEach((head, column) => {
      const button = make("button", { type: "button", title: "Sort" }, ...head.childNodes);
      button.addEventListener("click", () => this.sort(column));
      head.append(button);
    });
    this.addTools();
    this.dress(this.rows);
    if (this.rest) this.offerRest();
  }

  addTools() {
    const { table } = this;
    const tools = make("div", { className: "tools" });
    const csv = make("button", { type: "button", title: "Save the rows shown as CSV" }, "CSV");
    csv.setAttribute("aria-label", `Save as CSV: ${table.caption.querySelector("b").textContent}`);
    csv.addEventListener("click", () => this.save());
    this.count = make("output", { className: "count" });
    if (this.rest || this.rows.length >= FILTER_FROM) {
      this.box = make("input", { type: "search", placeholder: "Filter rows", spellcheck: false });
      this.box.setAttribute("aria-label", `Filter rows: ${table.caption.querySelector("b").textContent}`);
      this.box.addEventListener("input", () => this.filter());
      tools.append(this.box, this.count);
    }
    tools.append(csv);
    table.closest(".scroll").before(tools);
  }

  offerRest() {
    const all = this.rest.textContent.match(/of ([\d,]+) rows/)[1];
    const button = make("button", { type: "button" }, `Show all ${all} rows`);
    button.addEventListener("click", () => this.complete());
    this.rest.append(" ", button);
  }

  // The rows of a very long table lie packed until somebody asks for more than the first.
  complete() {
    this.whole ??= this.unpack();
    return this.whole;
  }
  async unpack() {
    if (!this.rest) return;
    const html = new TextDecoder().decode(await inflated(this.rest.querySelector("script").textContent.trim()));
    const added = make("tbody");
    added.innerHTML = html;
    const rows = [...added.rows];
    this.body.append(...rows);
    this.rows.push(...rows);
    this.dress(rows);
    this.rest.remove();
  }

  dress(rows) {
    if (!samples || !("samples" in this.table.parentElement.dataset)) return;
    const column = this.titles.indexOf("samples");
    for (const row of rows) samples.offer(row, row.cells[column], this.keysOf(row));
  }
  keysOf(row) {
    return this.heads.flatMap((head, at) => (head.dataset.kind === "key" ? [textOf(row.cells[at])] : []));
  }

  async sort(column) {
    await this.complete();
    const order = this.sorted.column !== column ? 1 : this.sorted.order === 1 ? -1 : this.sorted.order === -1 ? 0 : 1;
    this.sorted = { column, order };
    this.heads.forEach((head, at) => {
      if (at === column && order) head.setAttribute("aria-sort", order > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    this.body.append(...(order ? this.inOrder(column, order) : this.rows));
    this.loosen();
  }
  inOrder(column, order) {
    const known = [], absent = [];
    let numeric = this.heads[column].dataset.kind === "number";
    for (const row of this.rows) {
      const cell = row.cells[column], text = textOf(cell);
      numeric ||= cell.dataset.n !== undefined;
      (text === ABSENT || text === "" ? absent : known).push({ row, text, number: numberOf(cell) });
    }
    const compare = (a, b) =>
      numeric && !Number.isNaN(a.number) && !Number.isNaN(b.number) ? a.number - b.number
      : numeric && Number.isNaN(a.number) !== Number.isNaN(b.number) ? (Number.isNaN(a.number) ? 1 : -1) * order
      : words.compare(a.text, b.text);
    known.sort((a, b) => order * compare(a, b));
    return [...known, ...absent].map((one) => one.row);
  }

  async filter() {
    await this.complete();
    const asked = this.box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of this.rows) {
      row.text ??= [...row.cells].map(textOf).join(" ").toLowerCase();
      row.hidden = !asked.every((word) => row.text.includes(word));
      shown += !row.hidden;
    }
    this.count.textContent = asked.length ? `${shown.toLocaleString("en")} of ${counted(this.rows.length, "row")}` : "";
    this.loosen();
  }
  // What repeats the row above is dimmed, which is wrong once another row stands above.
  loosen() {
    this.table.classList.toggle("loose", this.sorted.order !== 0 || Boolean(this.box?.value.trim()));
  }

  async save() {
    await this.complete();
    const notes = new Map();
    for (const mark of this.table.querySelectorAll("sup a"))
      if (!notes.has(mark.hash)) notes.set(mark.hash, document.getElementById(mark.hash.slice(1)).textContent);
    const head = this.heads.flatMap((cell, at) => {
      const title = guarded(this.titles[at]);
      return "worded" in cell.dataset ? [title, guarded(`${this.titles[at]} (as shown)`)] : [title];
    });
    const lines = [...this.body.rows].filter((row) => !row.hidden).map((row) => this.line(row, notes));
    save(this.table.id, [notes.size ? [...head, "notes"] : head, ...lines]);
  }
  line(row, notes) {
    const line = [], told = [];
    this.heads.forEach((head, at) => {
      const cell = row.cells[at], text = textOf(cell), mark = cell.querySelector("sup a");
      line.push(exact(cell, text, head.dataset.kind));
      if ("worded" in head.dataset) line.push(text === ABSENT ? "" : guarded(text));
      if (mark) told.push(`${this.titles[at]}: ${notes.get(mark.hash)}`);
    });
    return notes.size ? [...line, guarded(told.join("; "))] : line;
  }
}
function exact(cell, text, kind) {
  if (text === ABSENT) return "";
  if (cell.dataset.n !== undefined) return cell.dataset.n;
  if (kind === "number" && PLAIN.test(text)) return text.replaceAll(",", "").replace("−", "-");
  return guarded(text);
}

class Samples {
  constructor(place) {
    const { kinds, counts, packed } = JSON.parse(place.textContent);
    Object.assign(this, { kinds, counts, packed });
    let offset = 0;
    this.offsets = counts.map(() => []);
    kinds.forEach((_, kind) => counts.forEach((row, cell) => {
      this.offsets[cell][kind] = offset;
      offset += Math.max(0, row[kind]);
    }));
    this.dialog = make("dialog", { className: "samples" });
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    document.body.append(this.dialog);
  }

  offer(row, place, keys) {
    const cell = Number(row.dataset.cell);
    if (!this.counts[cell]?.some((count) => count)) return;
    const button = make("button", { type: "button", className: "open", title: "See the raw samples" });
    button.setAttribute("aria-label", `${place.firstChild.textContent} samples: see them`);
    button.append(place.firstChild);
    button.addEventListener("click", () => this.open(cell, keys));
    place.prepend(button);
  }

  // The bytes of equal place lie together; see reports/raw_samples.py.
  values() {
    this.unpacked ??= inflated(this.packed).then((buffer) => {
      const planes = new Uint8Array(buffer), size = planes.length / 4, bytes = new Uint8Array(planes.length);
      for (let place = 0; place < 4; place++)
        for (let at = 0; at < size; at++) bytes[4 * at + place] = planes[place * size + at];
      const view = new DataView(bytes.buffer);
      return Float32Array.from({ length: size }, (_, at) => view.getFloat32(4 * at, true));
    });
    return this.unpacked;
  }

  async open(cell, keys) {
    const values = await this.values();
    const close = make("button", { type: "button" }, "Close");
    close.addEventListener("click", () => this.dialog.close());
    const title = make("h2", { id: "samples-title" }, "Raw samples");
    const parts = this.kinds.flatMap(([field, words], kind) => {
      const count = this.counts[cell][kind];
      if (!count) return [];
      const head = make("h3", {}, `${counted(Math.abs(count), "sample")}, ${words}`);
      if (count < 0)
        return [head, make("p", {}, `They had no room on this page: results.json holds them, cells[${cell}].${field}.samples.`)];
      const own = values.subarray(this.offsets[cell][kind], this.offsets[cell][kind] + count);
      return [make("section", {}, head, ...this.shown(own, field, keys))];
    });
    this.dialog.replaceChildren(make("header", {}, title, close), make("p", {}, keys.join(", ")), ...parts);
    this.dialog.setAttribute("aria-labelledby", "samples-title");
    this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  shown(own, field, keys) {
    const texts = [...own].map((value) => String(Number(value.toPrecision(7))));
    const csv = make("button", { type: "button" }, "CSV");
    csv.addEventListener("click", () => {
      const name = [...keys, field].join("-").replace(/[^\w.+-]+/g, "-");
      save(name, [["index", "value_ms"], ...texts.map((text, at) => [String(at), text])]);
    });
    const list = make("details", {}, make("summary", {}, "Values in ms, in the order measured"), make("pre", {}, texts.join("  ")));
    list.querySelector("pre").tabIndex = 0;
    return [plot(own), make("p", { className: "count" }, spread(own), " ", csv), list];
  }
}
const shortly = (value) => `${Number(value.toPrecision(3)).toLocaleString("en")} ms`;
function spread(own) {
  const sorted = own.slice().sort(), half = sorted.length >> 1;
  const median = sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return `least ${shortly(sorted[0])}, median ${shortly(median)}, most ${shortly(sorted.at(-1))}`;
}
// A dot for each sample in the order measured, on a scale from the least to the most.
function plot(own) {
  const width = 600, height = 120, most = own.reduce((a, b) => Math.max(a, b)), least = own.reduce((a, b) => Math.min(a, b));
  const x = (at) => (own.length > 1 ? 6 + (at * (width - 12)) / (own.length - 1) : width / 2);
  const y = (value) => (most > least ? 6 + ((most - value) * (height - 12)) / (most - least) : height / 2);
  const points = [...own].map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
  const dots = points.map((point) => `M${point}h0`).join("");
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "series" });
  picture.setAttribute("aria-label", `${counted(own.length, "sample")} in the order measured: ${spread(own)}`);
  picture.append(draw("polyline", { points: points.join(" ") }), draw("path", { d: dots }));
  return picture;
}

const place = document.getElementById("samples");
const samples = place && "DecompressionStream" in window ? new Samples(place) : null;
for (const table of document.querySelectorAll(".scroll > table")) new Sheet(table);

for (const text of document.querySelectorAll("pre[data-copy]")) {
  const button = make("button", { type: "button", className: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => (button.textContent = "Copy"), 2500);
  });
  text.before(button);
}
})();
