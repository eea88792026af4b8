/** IPv4 and IPv6 addresses and CIDR blocks (RFC 4632, RFC 4291), as the IpAddress conditions compare them. */
import { isIPv4, isIPv6 } from "node:net";

/** `bits`: how many there are; an IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is the IPv4 address. */
export type Address = { readonly value: bigint; readonly bits: 32 | 128 };
export type Block = Address & { readonly prefix: number };

const mapped = 0xffffn << 32n;

/** All conditions of a request ask about one and the same. */
let lastParsed: { readonly text: string; readonly address: Address | undefined } | undefined;

export function parseAddress(text: string): Address | undefined {
  if (lastParsed?.text !== text) lastParsed = { text, address: readAddress(text) };
  return lastParsed.address;
}

function readAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { value: fromIPv4(text), bits: 32 };
  // A zone (`%eth0`) says nothing to anybody else.
  if (!isIPv6(text) || text.includes("%")) return undefined;
  const value = fromIPv6(text);
  return value >> 32n === mapped >> 32n ? { value: value & 0xffff_ffffn, bits: 32 } : { value, bits: 128 };
}

function fromIPv4(text: string): bigint {
  return text.split(".").reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

function fromIPv6(text: string): bigint {
  const [head = "", tail] = text.split("::");
  const left = wordsOf(head);
  const right = tail === undefined ? [] : wordsOf(tail);
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0n);
  return [...left, ...zeros, ...right].reduce((value, word) => (value << 16n) | word, 0n);
}

/** The words of one side of `::`; the last one may be written as IPv4. */
function wordsOf(text: string): bigint[] {
  if (text === "") return [];
  return text.split(":").flatMap((word) => {
    if (!word.includes(".")) return [BigInt(`0x${word}`)];
    const value = fromIPv4(word);
    return [value >> 16n, value & 0xffffn];
  });
}

/** `address/prefix`, or an address alone. Bits behind the prefix say nothing, as AWS has it. */
export function parseBlock(text: string): Block | undefined {
  const slash = text.indexOf("/");
  const address = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  if (slash < 0) return { ...address, prefix: address.bits };
  const digits = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits)) return undefined;
  // `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
  const given = Number(digits) - (address.bits === 32 && text.includes(":") ? 96 : 0);
  return given < 0 || given > address.bits ? undefined : { ...address, prefix: given };
}

export function isInBlock(address: Address, block: Block): boolean {
  const behind = BigInt(block.bits - block.prefix);
  return address.bits === block.bits && address.value >> behind === block.value >> behind;
}
