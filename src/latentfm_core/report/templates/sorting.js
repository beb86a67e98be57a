/* Sort a table by a click on a column header; missing values stay last. */
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  var heads = Array.prototype.slice.call(table.tHead.rows[0].cells);
  heads.forEach(function (head, column) {
    var kind = head.getAttribute("data-kind");
    if (!kind) { return; }
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) { button.appendChild(head.firstChild); }
    head.appendChild(button);
    button.addEventListener("click", function () {
      var sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      var rows = Array.prototype.slice.call(body.rows).map(function (row) {
        var value = row.cells[column].getAttribute("data-value");
        return [row, kind === "number" && value !== "" ? Number(value) : value];
      });
      rows.sort(function (one, two) {
        if (one[1] === "" || two[1] === "") { return (one[1] === "") - (two[1] === ""); }
        if (kind === "number") { return sign * (one[1] - two[1]); }
        return sign * one[1].localeCompare(two[1], undefined, { numeric: true });
      });
      rows.forEach(function (entry) { body.appendChild(entry[0]); });
    });
  });
});
