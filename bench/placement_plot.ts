/** Draws lines over the number of drives, a panel beside the other, as SVG. */
export type Line = { readonly name: string; readonly points: readonly { readonly x: number; readonly y: number }[] };
export type Panel = { readonly title: string; readonly lines: readonly Line[] };

const width = 300;
const height = 200;
const left = 36;
const top = 34;
const colors = ["#1f6feb", "#d1480c", "#8a8a8a", "#2a9d4a"];

/** From 10 to 1,000, by the logarithm. */
function across(x: number): number {
  return left + ((Math.log10(x) - 1) / 2) * (width - left - 16);
}

function panel({ title, lines }: Panel, at: number): string {
  // Room for the names of the lines above them.
  const most = Math.max(1, ...lines.flatMap(({ points }) => points.map(({ y }) => y))) * 1.4;
  const step = [0.25, 0.5, 1, 2, 5, 10, 20].find((size) => most / size <= 6) ?? 50;
  const down = (y: number): number => top + (1 - y / most) * (height - top - 28);
  const text = (x: number, y: number, anchor: string, words: string): string =>
    `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${words}</text>`;
  const parts = [`<g transform="translate(${at * width} 0)">`, text(left, 16, "start", title)];
  for (let y = 0; y <= most; y += step) {
    parts.push(`<path d="M${left} ${down(y).toFixed(1)}H${width - 16}" stroke="#ddd"/>`);
    parts.push(text(left - 4, down(y) + 3, "end", String(y)));
  }
  for (const x of [10, 30, 100, 300, 1_000]) parts.push(text(across(x), height - 14, "middle", String(x)));
  lines.forEach(({ name, points }, index) => {
    const color = colors[index % colors.length]!;
    const path = points.map(({ x, y }) => `${across(x).toFixed(1)} ${down(y).toFixed(1)}`).join("L");
    parts.push(`<path d="M${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`);
    for (const { x, y } of points)
      parts.push(`<circle cx="${across(x).toFixed(1)}" cy="${down(y).toFixed(1)}" r="2" fill="${color}"/>`);
    parts.push(`<g fill="${color}">${text(width - 16, top + 2 + index * 11, "end", name)}</g>`);
  });
  return [...parts, "</g>"].join("\n");
}

export function plotOf(panels: readonly Panel[]): string {
  const size = `width="${panels.length * width}" height="${height}"`;
  const style = 'font-family="sans-serif" font-size="10" fill="#444"';
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${style}>
<rect width="100%" height="100%" fill="#fff"/>
${panels.map(panel).join("\n")}
</svg>
`;
}
