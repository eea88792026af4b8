/**
 * What the caller of the file API may do: judged as at the S3 door, by the same policies, ACLs and decision, as if the call were
 * the S3 operation that does the same to the objects of the files' bucket.
 *
 * Known gap: whoever lists sees the type of each file, which S3 shows to whoever may read it.
 */
import type { DoorRequest } from "../core/door.ts";
import { hasReason, HoldfastError } from "../core/errors.ts";
import { newObjectAcl } from "../gateway/acls.ts";
import { Admission, authorize, authorityOf, type Access, type Authority } from "../gateway/authorize.ts";
import { S3Error } from "../gateway/errors.ts";
import { arnOf, type Asked } from "../gateway/needs.ts";
import type { RulesSource } from "../gateway/rules.ts";
import type { Admit, ObjectAcl, Objects } from "../object/object.ts";

type FileOperation = "PutObject" | "GetObject" | "DeleteObject" | "ListObjectsV2" | "CreateBucket";

export type PermitParts = {
  readonly access: Access;
  readonly request: DoorRequest;
  readonly bucket: string;
  readonly region: string;
  readonly nowMs: number;
  readonly source: RulesSource;
};

export class FilesPermit {
  readonly #parts: PermitParts;
  #authority: Promise<Authority> | undefined;

  constructor(parts: PermitParts) {
    this.#parts = parts;
  }

  /** Errors: `access_denied`, `no_such_bucket` where somebody asks who may not do everything. */
  async require(operation: Exclude<FileOperation, "GetObject">, key?: Buffer): Promise<void> {
    const asked = this.#asked(operation, key);
    // A bucket that is to be made has no rules yet.
    const authority = operation === "CreateBucket" ? await this.#authorityFor(asked) : await this.#ofBucket();
    asAccessDenied(() => authorize(authority, asked));
  }

  /** For the options of a call that reads a file. */
  async reading(key: Buffer): Promise<{ readonly admit?: Admit }> {
    const { admit } = new Admission(await this.#ofBucket(), this.#asked("GetObject", key)).of("target");
    return admit === undefined ? {} : { admit: (found) => asAccessDenied(() => admit(found)) };
  }

  /** For what is done as it was judged, to the very bucket that it was judged by. */
  async judged(objects: Objects): Promise<Objects> {
    return (await this.#ofBucket()).judged(objects);
  }

  /** For the options of a call that stores one. */
  async storing(): Promise<{ readonly acl?: ObjectAcl }> {
    const { bucket, source } = this.#parts;
    return newObjectAcl({ bucket, headers: {}, authority: await this.#ofBucket() }, source);
  }

  /** Whoever may not list is not told that a file is not there. */
  async shown(error: unknown): Promise<unknown> {
    if (!hasReason(error, "no_such_key") || this.#parts.access === "full") return error;
    const { bucket } = this.#parts;
    const authority = await this.#ofBucket().catch(() => undefined);
    if (authority?.allows({ action: "s3:ListBucket", resource: arnOf(bucket), bucket }) === true) return error;
    return new HoldfastError("access_denied", "Access Denied", { cause: error });
  }

  #ofBucket(): Promise<Authority> {
    return (this.#authority ??= this.#authorityFor(this.#asked("ListObjectsV2")));
  }

  #authorityFor(asked: Asked): Promise<Authority> {
    const { access, request: peer, region, nowMs, source } = this.#parts;
    return authorityOf({ access, peer, asked, region, nowMs }, source);
  }

  #asked(operation: FileOperation, key: Buffer = Buffer.alloc(0)): Asked {
    const { bucket, request } = this.#parts;
    const { "user-agent": agent, referer } = request.headers;
    return { operation, bucket, key, query: new Map(), headers: { "user-agent": agent, referer } };
  }
}

/** The door's own kind of error. */
function asAccessDenied(judge: () => void): void {
  try {
    judge();
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    throw new HoldfastError("access_denied", error.message, { cause: error });
  }
}
