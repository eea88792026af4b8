/** Requests as bytes, for what no client library would send. */
import { connect } from "node:net";
import { limits } from "../../src/core/limits.ts";

/**
 * Sends bytes as they are (text is latin1) and gives back everything that came until the server closed. A reset is an error; but a
 * process that stood still, with the server in it, may have been too late to read an answer: then all is sent again.
 */
export async function talk(port: number, ...pieces: readonly (string | Buffer)[]): Promise<string> {
  for (;;) {
    const beganMs = performance.now();
    try {
      return await talkOnce(port, pieces);
    } catch (error) {
      if (performance.now() - beganMs < limits.lingerMsMax) throw error;
    }
  }
}

function talkOnce(port: number, pieces: readonly (string | Buffer)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      for (const piece of pieces) socket.write(typeof piece === "string" ? Buffer.from(piece, "latin1") : piece);
    });
    let heard = "";
    socket.setEncoding("latin1");
    socket.on("data", (data: string) => (heard += data));
    socket.on("close", () => resolve(heard));
    socket.on("error", reject);
  });
}

/** Request line and headers, each with its end of line, without the empty line behind them. */
export function headText(method: string, target: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${target} HTTP/1.1\r\n${lines.join("")}`;
}

/** The status of every answer in what was heard. */
export function statusesOf(heard: string): number[] {
  return [...heard.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
}

export function codeOf(heard: string): string | undefined {
  return /<Code>(\w+)<\/Code>/.exec(heard)?.[1];
}
