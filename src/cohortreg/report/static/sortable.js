// Small tables of the page itself, `table.sortable`, sorted by their headings. Cells may have their value in data-value.
"use strict";

(function () {
  function valueOf(row, column) {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.textContent.trim();
    return cell.dataset.value === "" ? NaN : Number(cell.dataset.value);
  }

  // Numbers before what is missing, whichever way they are sorted.
  function compare(x, y, sign) {
    if (typeof x === "string") return sign * x.localeCompare(y, undefined, { numeric: true });
    return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || 0;
  }

  function sort(table, heads, column) {
    const sign = heads[column].getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(head => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map(row => [valueOf(row, column), row]);
    body.append(...rows.sort((a, b) => compare(a[0], b[0], sign)).map(([, row]) => row));
  }

  // Without scripts the headings are plain text.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, heads, column));
      head.append(button);
    });
  }
})();
