/**
 * The ceiling: a bare `node:http` server that reads whatever is sent and answers the same bytes Holdfast would, with no
 * store behind it. Same processes, same sockets, no work. Arguments: workers, path of the large file. Prints its port.
 */
import cluster from "node:cluster";
import { createReadStream, statSync } from "node:fs";
import http from "node:http";

const workers = Number(process.argv[2]);
const largePath = process.argv[3]!;
const small = Buffer.alloc(4096, 7);

function answer(req: http.IncomingMessage, res: http.ServerResponse): void {
  if (req.method === "PUT" || req.method === "POST") {
    req.on("data", () => undefined);
    req.on("end", () => {
      res.writeHead(200, { "content-length": "0", etag: '"x"' });
      res.end();
    });
  } else if (req.method === "DELETE") {
    res.writeHead(204);
    res.end();
  } else if (req.url === "/large") {
    res.writeHead(200, { "content-length": String(statSync(largePath).size) });
    createReadStream(largePath).pipe(res);
  } else {
    res.writeHead(200, { "content-length": "4096", etag: '"x"' });
    if (req.method === "HEAD") res.end();
    else res.end(small);
  }
}

if (cluster.isPrimary) {
  for (let index = 0; index < workers; index++) cluster.fork();
  let listening = 0;
  cluster.on("listening", (_worker, address) => {
    listening += 1;
    if (listening === workers) process.stdout.write(`${address.port}\n`);
  });
  process.on("SIGTERM", () => process.exit(0));
} else {
  http.createServer(answer).listen(0, "127.0.0.1");
  process.on("disconnect", () => process.exit(0));
}
