/** Prints rows as a table of Markdown; the first one is its head, the first column is text. */
export function printTable(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!),
    );
    process.stdout.write(`| ${cells.join(" | ")} |\n`);
    if (row === rows[0]) process.stdout.write(`|${widths.map((width) => "-".repeat(width + 2)).join("|")}|\n`);
  }
}
