/** What a server says when it is ready: where it is, the credentials the first time, and lines to paste. */
import type { RootKey } from "../identity/root_key.ts";
import { advertisedUrl, type Settings } from "./settings.ts";

export type BannerFacts = {
  readonly version: string;
  readonly settings: Settings;
  readonly port: number;
  readonly rootKey: RootKey;
};

/** The address to give to a client on this machine. */
export function urlOf({ listen, "tls-cert": cert }: Settings, port: number): string {
  const isAnyAddress = listen.host === "::" || listen.host === "0.0.0.0";
  const host = isAnyAddress ? "127.0.0.1" : listen.host.includes(":") ? `[${listen.host}]` : listen.host;
  return `${cert === undefined ? "http" : "https"}://${host}:${port}`;
}

export function banner({ version, settings, port, rootKey }: BannerFacts): string {
  const url = urlOf(settings, port);
  const { drives, workers, metadata } = settings;
  const place =
    metadata === undefined
      ? ""
      : `, to other machines at ${advertisedUrl({ ...settings, listen: { ...settings.listen, port } })}`;
  const ready = `Holdfast ${version} is ready at ${url}${place} (${workers} worker${workers === 1 ? "" : "s"}, data in ${drives.join(", ")})`;
  return [ready, "", ...keyLines(rootKey), ...pasteLines(rootKey, url, settings.region)].join("\n") + "\n";
}

function keyLines({ accessKey, secretKey, from, file, isExposed }: RootKey): string[] {
  if (from === "given") return [`  Root access key  ${accessKey} (from the settings)`];
  const warning = isExposed ? [`  WARNING: others may read ${file}; run: chmod 600 ${file}`] : [];
  if (from === "kept") return [`  Root access key  ${accessKey} (its secret is in ${file})`, ...warning];
  return [
    `  Root access key  ${accessKey}`,
    `  Root secret key  ${secretKey}`,
    `  The secret is shown this once and kept in ${file}.`,
  ];
}

/** Only where the secret may be shown. */
function pasteLines({ accessKey, secretKey, from }: RootKey, url: string, region: string): string[] {
  if (from !== "made") return [];
  return [
    "",
    "  aws:",
    `    export AWS_ACCESS_KEY_ID=${accessKey} AWS_SECRET_ACCESS_KEY=${secretKey} AWS_DEFAULT_REGION=${region}`,
    `    aws --endpoint-url ${url} s3 mb s3://photos`,
    `    aws --endpoint-url ${url} s3 cp cat.jpg s3://photos/`,
    "  rclone:",
    `    rclone config create holdfast s3 provider=Other endpoint=${url} region=${region} access_key_id=${accessKey} secret_access_key=${secretKey} force_path_style=true`,
    "    rclone copy ./folder holdfast:photos/folder",
    "  curl:",
    `    curl -u ${accessKey}:${secretKey} -F file=@cat.jpg ${url}/_/files`,
  ];
}
