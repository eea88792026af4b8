/**
 * Digests of object bytes: MD5 for ETags, the checksums of S3, SHA-256 of signed payloads.
 * Small bodies are hashed where they are; large ones in threads (DigestPool), because MD5 alone would fill the main one.
 */
export type DigestAlgorithm = "md5" | "sha1" | "sha256" | "crc32" | "crc32c" | "crc64nvme";

/** Raw digest bytes by algorithm; CRCs big-endian (4 or 8 bytes), as S3 encodes them. */
export type Digests = { readonly [A in DigestAlgorithm]?: Buffer };

/** A running digest over a stream of bytes, fed in order. */
export type StreamDigest = {
  /**
   * Takes the next bytes. Resolves when the bytes have been read, so that the caller may reuse their buffer.
   * At most one call may be under way.
   */
  update(bytes: Uint8Array): Promise<void>;
  /** Ends the stream. No call may follow. */
  finish(): Promise<Digests>;
  /** Gives the stream up and frees what it holds. Harmless after `finish`. */
  cancel(): void;
};

export type DigestPool = {
  stream(algorithms: readonly DigestAlgorithm[]): StreamDigest;
  /** All digests of bytes that are already whole and small (up to about inlineBytesMax), computed in place. */
  whole(algorithms: readonly DigestAlgorithm[], bytes: Uint8Array): Digests;
  close(): Promise<void>;
};
