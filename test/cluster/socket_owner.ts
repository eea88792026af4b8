/** Which of some processes has the other end of a TCP connection on this machine (Linux). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Socket } from "node:net";

/** `socket` is this process's end, accepted from the other one. Undefined where none of them has it (any more). */
export function ownerOf(socket: Socket, pids: readonly number[]): number | undefined {
  const inode = inodeOf(socket.remotePort ?? 0, socket.localPort ?? 0);
  return inode === undefined ? undefined : pids.find((pid) => hasSocket(pid, inode));
}

const hex = (port: number): string => port.toString(16).toUpperCase().padStart(4, "0");

/** See proc(5), /proc/net/tcp: local address, remote address, state, … and the inode in the tenth place. */
function inodeOf(localPort: number, remotePort: number): string | undefined {
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (fields[1]?.endsWith(`:${hex(localPort)}`) && fields[2]?.endsWith(`:${hex(remotePort)}`)) return fields[9];
  }
  return undefined;
}

function hasSocket(pid: number, inode: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === `socket:[${inode}]`);
  } catch {
    // The process has ended.
    return false;
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
