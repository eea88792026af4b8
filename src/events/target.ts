/** What an operator says of a destination, looked at before it is kept: one that can be sent to as far as that can be told. */
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { HoldfastError } from "../core/errors.ts";
import { limits } from "../core/limits.ts";
import { credentialNames, type Credentials, type DestinationRecord } from "../meta/destinations.ts";
import { brokerKindOf, parseBrokerAddress, shownAddress, splitLogin } from "./address.ts";
import { isDestinationName } from "./arn.ts";
import { tlsOptions } from "./connection.ts";

/** `url` may bear a user and a password where it is a broker's. */
export type NewDestination = Pick<DestinationRecord, "url" | "headers" | "secret"> & {
  readonly credentials?: Credentials;
};

type Target = Pick<DestinationRecord, "kind" | "url" | "headers" | "secret" | "credentials">;

function refuse(message: string): never {
  throw new HoldfastError("invalid_argument", message);
}

/** Errors: `invalid_argument`, which says no secret. */
export function checkedTarget(name: string, wanted: NewDestination): Target {
  if (!isDestinationName(name))
    refuse(
      `The name of an event target has 1 to ${limits.destinationNameCharsMax} lower-case letters, digits, "-" and "_", and begins with a letter or digit.`,
    );
  const target = brokerKindOf(wanted.url) === undefined ? webhookOf(wanted) : brokerOf(wanted);
  checkCredentials(target);
  return target;
}

function webhookOf({ url, headers, secret, credentials = {} }: NewDestination): Target {
  if (url.length > limits.destinationUrlCharsMax || !isWebAddress(url))
    refuse(
      `"${shownAddress(url)}" is not an http:// or https:// address without a user's name, nor one of nats://, kafka://, amqp://, redis:// and mqtt://.`,
    );
  checkHeaders(headers);
  if (secret !== undefined && (secret.length === 0 || secret.length > limits.destinationSecretCharsMax))
    refuse(`A secret has 1 to ${limits.destinationSecretCharsMax} characters.`);
  if (credentials.user !== undefined || credentials.password !== undefined)
    refuse("A webhook has no user and no password: give it a header.");
  return { kind: "webhook", url, headers, secret, credentials };
}

function brokerOf({ url, headers, secret, credentials = {} }: NewDestination): Target {
  if (url.length > limits.destinationUrlCharsMax)
    refuse(`The address of an event target has at most ${limits.destinationUrlCharsMax} characters.`);
  if (headers.length > 0) refuse("Headers are a webhook's.");
  if (secret !== undefined) refuse("Only what is sent to a webhook is signed.");
  const split = splitLogin(url);
  const { kind } = parseBrokerAddress(split.url);
  return {
    kind,
    url: split.url,
    headers: [],
    secret: undefined,
    credentials: { ...split.credentials, ...credentials },
  };
}

function isTls({ kind, url }: Target): boolean {
  return kind === "webhook" ? url.startsWith("https:") : parseBrokerAddress(url).isTls;
}

function checkCredentials(target: Target): void {
  const { kind, credentials } = target;
  const values = credentialNames.map((name) => credentials[name]).filter((value) => value !== undefined);
  const bytes = values.reduce((sum, value) => sum + Buffer.byteLength(value), 0);
  if (bytes > limits.destinationCredentialBytesMax)
    refuse(`Password, certificates and keys have at most ${limits.destinationCredentialBytesMax} bytes together.`);
  if (values.some((value) => value === "")) refuse("A password, certificate or key is empty.");
  const { user, password, natsCredentials, authority, certificate, key } = credentials;
  if (natsCredentials !== undefined && (kind !== "nats" || user !== undefined || password !== undefined))
    refuse("A credentials file is for NATS, in place of a user and a password.");
  if (password !== undefined && user === undefined && kind !== "redis")
    refuse("A password needs a user: write it into the address, as in amqp://user@host.");
  if ((certificate === undefined) !== (key === undefined)) refuse("A certificate and its key go together.");
  if (authority === undefined && certificate === undefined) return;
  if (!isTls(target)) refuse("Certificates are for addresses with TLS: https, tls, kafkas, amqps, rediss, mqtts.");
  checkCertificates(credentials);
}

function checkCertificates(credentials: Credentials): void {
  try {
    const { authority, certificate } = credentials;
    // A context takes what is no certificate for none at all.
    for (const text of [authority, certificate]) if (text !== undefined) void new X509Certificate(text);
    createSecureContext(tlsOptions(credentials));
  } catch {
    refuse("The certificates and the key are not in PEM, or do not belong together.");
  }
}

const headerName = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
const ownHeaders = /^(host|content-length|transfer-encoding|connection|expect|upgrade|x-holdfast-.*)$/i;

function checkHeaders(headers: Target["headers"]): void {
  if (headers.length > limits.destinationHeadersMax)
    refuse(`There are at most ${limits.destinationHeadersMax} headers.`);
  let bytes = 0;
  for (const [header, value] of headers) {
    bytes += header.length + value.length;
    if (!headerName.test(header) || /[^\t\x20-\x7e]/.test(value))
      refuse(`"${header}" is not a header that can be sent.`);
    if (ownHeaders.test(header)) refuse(`The header "${header}" is Holdfast's own.`);
  }
  if (bytes > limits.destinationHeaderBytesMax)
    refuse(`Headers have at most ${limits.destinationHeaderBytesMax} bytes.`);
}

function isWebAddress(text: string): boolean {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return false;
  const { hostname, username, password } = new URL(text);
  return username === "" && password === "" && hostname !== "";
}
