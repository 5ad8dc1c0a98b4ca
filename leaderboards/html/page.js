"use strict";
// Sorting, filters and the panel of one number. Texts and numbers all come from the page; nothing is fetched.
(async () => {
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
  async function unpacked(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  const evidence = await unpacked("data");
  const threats = parsed("threats");
  const byId = (id) => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const boards = all("table.board");

  // ---------------------------------------------------------------- sorting

  const original = new Map(boards.map((table) => [table, [...table.tBodies[0].rows]]));

  function compare(one, other, sign) {
    if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
    const [a, b] = [Number(one), Number(other)];
    const numeric = !Number.isNaN(a) && !Number.isNaN(b);
    return sign * (numeric ? a - b : one.localeCompare(other, "en", { numeric: true }));
  }

  function sort(head) {
    const table = head.closest("table");
    const first = head.dataset.first;
    const second = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of all("thead th", table)) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", order);
    const key = (row) => row.cells[head.cellIndex].dataset.key;
    const rows = [...original.get(table)];
    rows.sort((one, other) => compare(key(one), key(other), order === "ascending" ? 1 : -1));
    table.tBodies[0].append(...rows);
  }

  function unsort() {
    for (const table of boards) {
      for (const head of all("thead th", table)) head.setAttribute("aria-sort", "none");
      table.tBodies[0].append(...original.get(table));
    }
  }

  // ---------------------------------------------------------------- filters

  const filters = { name: byId("filter-name"), kind: byId("filter-kind"), attack: byId("filter-attack"),
    b: byId("filter-b"), rho: byId("filter-rho") };

  function wantsRow(row) {
    const names = filters.name.value.toLowerCase().split(",").map((name) => name.trim()).filter(Boolean);
    return names.length === 0 || names.some((name) => row.toLowerCase().includes(name));
  }

  function wantsColumn(column) {
    const threat = threats[column];
    const alike = (select, value) => select.value === "" || value === null || Number(select.value) === value;
    return (filters.kind.value === "" || filters.kind.value === threat.kind)
      && (filters.attack.value === "" || filters.attack.value === threat.attack)
      && alike(filters.b, threat.b) && alike(filters.rho, threat.rho);
  }

  function show(elements, wanted) {
    for (const element of elements) element.classList.toggle("gone", !wanted(element));
  }

  function apply() {
    show(all("tr[data-row], section[data-row], figure[data-row], svg [data-row], .legend [data-row]"), (one) => wantsRow(one.dataset.row));
    show(all("[data-column]"), (one) => wantsColumn(one.dataset.column));
    for (const table of boards) {
      const heads = all("thead th[data-column]", table);
      const nothing = heads.length > 0 && heads.every((head) => head.classList.contains("gone"));
      table.closest("section").querySelector(".nothing")?.classList.toggle("gone", !nothing);
    }
    const chosen = Object.keys(threats).filter(wantsColumn);
    const some = chosen.length < Object.keys(threats).length;
    show(all(".chosen, .whole"), () => some);
    if (some) fillChosen(new Set(chosen));
    const rows = all("#table-overall tr[data-row]");
    const shown = rows.filter((row) => !row.classList.contains("gone")).length;
    byId("count").textContent =
      `${shown} of ${rows.length} defenses, ${chosen.length} of ${Object.keys(threats).length} threat models shown`;
    byId("nobody").classList.toggle("gone", shown > 0 || rows.length === 0);
    drawHeat();
    settle();
  }

  // The worst of the chosen columns, as the board ranks: none where one of the suite's was not measured.
  function worst(board, row, chosen) {
    const line = all(`#table-${board} tr[data-row]`).find((one) => one.dataset.row === row);
    const cells = line ? all("td[data-column]", line) : [];
    const asked = (cell, threat) => threat.attack !== "clean" && !(threat.extra && cell.dataset.score === undefined);
    const mine = cells.filter((cell) => chosen.has(cell.dataset.column) && asked(cell, threats[cell.dataset.column]));
    if (mine.length === 0 || mine.some((cell) => cell.dataset.score === undefined)) return null;
    const sign = board === "robustness" ? 1 : -1;
    return mine.reduce((best, cell) => (sign * (cell.dataset.score - best.dataset.score) < 0 ? cell : best));
  }

  function fillChosen(chosen) {
    for (const cell of all("#table-overall td.chosen")) {
      const found = worst(cell.dataset.board, cell.parentElement.dataset.row, chosen);
      cell.replaceChildren();
      delete cell.dataset.key;
      if (!found) {
        cell.append(make("span", {}, "–"));
        continue;
      }
      const source = found.firstElementChild;
      const text = `${source.firstChild.textContent.trim()} (${found.dataset.column})`;
      cell.dataset.key = found.dataset.score;
      cell.append(source.dataset.place ? make("button", { type: "button", class: "place", "data-place": source.dataset.place }, text) : make("span", {}, text));
    }
  }

  // ---------------------------------------------------------------- the heat map, from the first table that has shades

  const HEATS = {
    robustness: ["Accuracy under every attack", "accuracy", 1, "In %"],
    backdoor: ["Success of every backdoor", "backdoor_success", -1, "In % of the images with the trigger"],
    privacy: ["Images recovered by every attack", "recovered", -1, "In % of the targets' images"],
    membership: ["Members found by every attack", "tpr_at_1", -1, "In % of the members, at 1 % false positives; a guess finds 1"],
    property: ["Label shares told by every attack", "explained", -1, "In % of what a blind guess misses; a guess explains 0"],
  };
  const chosenHeat = byId("heat-of");
  for (const name of byId("heat").dataset.of.split(" ").filter((name) => HEATS[name] && all(`#table-${name} td[data-score]`).length)) {
    chosenHeat.append(make("option", { value: name }, HEATS[name][0]));
  }
  chosenHeat.closest(".choice").classList.toggle("gone", chosenHeat.options.length < 2);
  chosenHeat.addEventListener("input", drawHeat);

  // What all names of attacked columns end in: said once, not over every column.
  function commonEnd(names) {
    const words = names.filter((name) => name !== "clean").map((name) => name.split(" "));
    const end = [];
    while (words.length > 1 && words.every((some) => some.length > end.length + 1 && some.at(-1 - end.length) === words[0].at(-1 - end.length))) {
      end.unshift(words[0].at(-1 - end.length));
    }
    return end.length ? ` ${end.join(" ")}` : "";
  }

  function told(row, column, metric) {
    const number = evidence.places[row]?.[column]?.numbers.find((one) => one.metric === metric);
    if (!number || number.mean === undefined) return `${row} × ${column}: not measured`;
    const percent = (text) => (100 * text).toFixed(1);
    const reach = number.low !== undefined ? ` [${percent(number.low)}, ${percent(number.high)}]`
      : number.half_width === undefined ? "" : ` ± ${percent(number.half_width)}`;
    const failed = Number(number.failed) ? `, ${number.failed} failed` : "";
    return `${row} × ${column}: ${metric} ${percent(number.mean)}${reach} %, ${number.seeds} seed${number.seeds === "1" ? "" : "s"}${failed}`;
  }

  function drawHeat() {
    const board = chosenHeat.value;
    if (!board) return;
    const [title, metric, sign, unit] = HEATS[board];
    const lines = original.get(byId(`table-${board}`)).filter((line) => !line.classList.contains("gone"));
    const good = (cell) => (sign > 0 ? Number(cell.dataset.score) : 1 - cell.dataset.score);
    const heads = all(`#table-${board} thead th[data-column]`).filter((head) => !head.classList.contains("gone"));
    const mean = (head) => {
      const known = lines.map((line) => line.cells[head.cellIndex]).filter((cell) => cell.dataset.score !== undefined);
      return known.length ? known.reduce((sum, cell) => sum + good(cell), 0) / known.length : 2;
    };
    const columns = heads.map((head) => [head.dataset.column === "clean" ? 3 : mean(head), head]).sort((one, other) => one[0] - other[0]);
    const tiles = byId("heat").querySelector(".tiles");
    byId("heat").classList.toggle("gone", lines.length === 0 || columns.length < 2);
    byId("title-heat").textContent = title;
    const end = commonEnd(columns.map(([, head]) => head.dataset.column));
    const name = (head) => (end && head.dataset.column.endsWith(end) ? head.dataset.column.slice(0, -end.length) : head.dataset.column);
    byId("note-heat").textContent = `${unit}. The best rows on top, the hardest attacks on the left; bright is good. ${end ? `All attacks:${end}. ` : ""}A click leads to the records.`;
    tiles.style.gridTemplateColumns = `max-content repeat(${columns.length}, 2.1rem)`;
    tiles.replaceChildren(make("span", { class: "of" }), ...columns.map(([, head]) => make("span", { class: "head" }, name(head))));
    for (const line of lines) {
      tiles.append(make("span", { class: "of" }, line.dataset.row));
      for (const [, head] of columns) {
        const cell = line.cells[head.cellIndex];
        const known = cell.dataset.score !== undefined;
        const share = known ? Math.min(Math.max(good(cell), 0), 1) : 0;
        const place = cell.querySelector("[data-place]")?.dataset.place;
        const text = told(line.dataset.row, head.dataset.column, metric);
        tiles.append(make("span", { class: `tile t${known ? Math.round(10 * share) : "none"}`, title: text, ...(place ? { "data-open": place } : {}) }, known ? String(Math.round(100 * cell.dataset.score)) : "–"));
      }
    }
  }

  byId("heat").addEventListener("pointerover", (event) => {
    if (event.target.title) byId("told").textContent = event.target.title;
  });
  byId("heat").addEventListener("click", (event) => {
    if (event.target.dataset.open) open(event.target.dataset.open);
  });

  // ---------------------------------------------------------------- arrow keys: one stop of the tab key a table

  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const target = (cell) => cell?.querySelector("button, a");

  function settle() {
    for (const table of boards) {
      const shown = all("button, a", table).filter((one) => !one.closest(".gone"));
      const current = shown.find((one) => one === document.activeElement) ?? shown[0];
      for (const one of all("button, a", table)) one.tabIndex = one === current ? 0 : -1;
    }
  }

  function move(event) {
    const step = STEPS[event.key];
    const cell = event.target.closest("th, td");
    if (!step || !cell) return;
    event.preventDefault();
    const rows = all("tr", event.currentTarget).filter((row) => !row.classList.contains("gone"));
    let [line, column] = [rows.indexOf(cell.parentElement) + step[0], cell.cellIndex + step[1]];
    while (rows[line]?.cells[column] && (rows[line].cells[column].classList.contains("gone") || !target(rows[line].cells[column]))) {
      line += step[0];
      column += step[1];
    }
    const next = target(rows[line]?.cells[column]);
    if (!next) return;
    next.focus();
    settle();
  }

  // ---------------------------------------------------------------- the panel of one number

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  function list(entries) {
    return make("dl", {}, ...Object.entries(entries).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
  }

  function grid(caption, heads, rows) {
    const line = (cells, index) => make("tr", {}, ...cells.map((text, at) =>
      at === 0 && index !== null ? make("th", { scope: "row" }, text) : make(index === null ? "th" : "td", index === null ? { scope: "col" } : {}, text)));
    const table = make("table", { class: "plain" }, make("caption", { class: "unseen" }, caption),
      make("thead", {}, line(heads, null)), make("tbody", {}, ...rows.map(line)));
    return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, table);
  }

  function folded(title, ...children) {
    return make("details", {}, make("summary", {}, title), ...children);
  }

  function commandLine(text) {
    const code = make("p", { class: "command" }, text);
    const button = make("button", { type: "button" }, "Copy");
    button.addEventListener("click", () => {
      const select = () => getSelection().selectAllChildren(code);
      if (!navigator.clipboard) return select();
      navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; }, select);
    });
    return make("div", {}, code, button);
  }

  function interval(number) {
    if (number.low !== undefined) return `${number.low} to ${number.high}`;
    return number.half_width === undefined ? "–" : `± ${number.half_width}`;
  }

  function bySeed(names, records) {
    const heads = ["metric", ...records.map((record) => `seed ${record.seed}`)];
    const status = ["status", ...records.map((record) => record.status)];
    return grid("Values by seed", heads, [status, ...names.map((name, at) => [name, ...records.map((record) => String(record.values?.[at] ?? "–"))])]);
  }

  function byRound(rounds, records) {
    const text = (value) => (value === undefined || value === null ? "–" : `${(100 * value).toFixed(1)}%`);
    const rows = rounds.map((at, index) => [String(at), ...records.map((record) => text(record.curve?.[index]))]);
    return rows.length ? [folded("Accuracy by round", grid("Accuracy by round", ["round", ...records.map((record) => `seed ${record.seed}`)], rows))] : [];
  }

  function recordLines(record, folder) {
    const path = `${folder}/${record.file}`;
    const entries = { "made": record.finished, ...evidence.made[record.made] };
    if (record.error) entries.error = record.error;
    if (record.pictures) entries.pictures = record.pictures.map((name) => `${folder}/${name}`).join(", ");
    return [make("h4", {}, `Seed ${record.seed}: ${path}`), list(entries), commandLine(`python -m bench show ${path}`)];
  }

  function open(place) {
    const [row, column] = JSON.parse(place);
    const found = evidence.places[row][column];
    byId("panel-title").textContent = `${row} × ${column}`;
    const numbers = found.numbers.map((number) => [`${number.board}: ${number.metric}`, number.mean ?? "–", interval(number), number.seeds ?? "–", number.failed ?? "–"]);
    const again = found.command
      ? [make("p", { class: "note" }, "Runs this cell and what the suite keeps with it (the clean run, the attack's other columns) into a results folder of its own."), commandLine(found.command)]
      : [make("p", {}, "The suite as this version has it would not play this cell again: it was made under another setting, another version of the code, or with --set. The settings below are what it was.")];
    byId("panel-body").replaceChildren(
      ...found.flags.map((flag) => make("p", {}, make("strong", {}, "Flag: "), flag)),
      make("h3", {}, "Numbers, as in the CSV"),
      grid("Numbers", ["number", "mean", "95 % interval", "seeds", "failed"], numbers),
      make("h3", {}, "Values by seed"), bySeed(found.metrics, found.records), ...byRound(found.rounds, found.records),
      ...(Object.keys(found.claims).length ? [make("h3", {}, "Privacy"), list(found.claims)] : []),
      make("h3", {}, "Run it again"), ...again,
      make("h3", {}, "Records"), ...found.records.flatMap((record) => recordLines(record, found.folder)),
      make("h3", {}, "Settings"), list({ ...evidence.common, ...evidence.settings[found.settings] }));
    byId("panel").showModal();
    byId("panel").scrollTop = 0;
    byId("panel-title").focus();
  }

  // ---------------------------------------------------------------- pointing out a defense in the charts

  function point(button) {
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") === "true" ? "false" : "true");
    const rows = all(".legend [aria-pressed='true']").map((one) => one.dataset.row);
    for (const svg of all("#charts svg:not(.swatch), #pareto svg")) {
      svg.classList.toggle("pointed", rows.length > 0);
      for (const mark of all("[data-row]", svg)) mark.classList.toggle("out", rows.includes(mark.dataset.row));
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) {
      if (event.target === byId("panel")) byId("panel").close();
    } else if (button.classList.contains("sort")) {
      sort(button.closest("th"));
    } else if (button.dataset.place) {
      open(button.dataset.place);
    } else if (button.closest(".legend")) {
      point(button);
    }
  });
  for (const table of boards) table.addEventListener("keydown", move);
  for (const filter of Object.values(filters)) filter.addEventListener("input", apply);
  byId("reset").addEventListener("click", () => {
    for (const filter of Object.values(filters)) filter.value = "";
    unsort();
    apply();
  });
  byId("filters").classList.remove("gone");
  apply();
})();
