/**
 * How a commit over several keys is written and answered, as types alone: programs that have the server inside compile
 * against them without knowing those of Node.js, so nothing is imported here. docs/atomic-commit.md says what they mean.
 */

type Conditions = { readonly ifMatch?: string; readonly ifNoneMatch?: string };
type Body =
  | { readonly text: string }
  | { readonly base64: string }
  | { readonly from: { readonly key: string; readonly versionId?: string } & Conditions };

/** An entry as it is written; what one has beside these is refused. */
export type CommitDocumentEntry =
  | ({ readonly put: string; readonly headers?: Readonly<Record<string, string>> } & Body & Conditions)
  | { readonly delete: string; readonly versionId?: string; readonly ifMatch?: string }
  | {
      readonly rename: string;
      readonly to: string;
      readonly ifMatch?: string;
      readonly toIfMatch?: string;
      readonly toIfNoneMatch?: string;
    }
  | ({ readonly check: string } & Conditions);

/** As it is printed: undefined fields are left out. */
export type ShownEntry = {
  readonly key: string;
  readonly etag: string | undefined;
  readonly versionId: string | undefined;
  readonly deleteMarker: true | undefined;
};
