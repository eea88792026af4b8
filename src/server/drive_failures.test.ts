import assert from "node:assert/strict";
import { test } from "node:test";
import { DriveFailures, IndexFailures } from "./drive_failures.ts";

const drives = ["/a", "/b", "/c"];

test("a drive is given up when it fails a worker that was started since it failed one", () => {
  const failures = new DriveFailures();
  const note = (drive: string, workerStartedMs: number, nowMs: number): boolean =>
    failures.note({ drive, workerStartedMs, nowMs }, drives);
  assert.equal(note("/a", 0, 100), false);
  assert.equal(note("/a", 50, 200), false, "both workers had it open when it failed");
  assert.equal(note("/b", 300, 400), false, "another drive");
  assert.equal(note("/a", 300, 400), true);
  assert.equal(note("/a", 500, 600), false, "once");
  assert.deepEqual(failures.givenUp, ["/a"]);
  failures.clear();
  assert.deepEqual(failures.givenUp, []);
  assert.equal(note("/a", 700, 800), false);
});

test("a failure long after the last one is a first one", () => {
  const failures = new DriveFailures();
  assert.equal(failures.note({ drive: "/a", workerStartedMs: 0, nowMs: 1 }, drives), false);
  assert.equal(failures.note({ drive: "/a", workerStartedMs: 2, nowMs: 100_000 }, drives), false);
  assert.equal(failures.note({ drive: "/a", workerStartedMs: 100_001, nowMs: 100_002 }, drives), true);
});

test("the last drive is tried for ever", () => {
  const failures = new DriveFailures();
  for (let atMs = 0; atMs < 10; atMs++)
    for (const drive of drives) failures.note({ drive, workerStartedMs: atMs, nowMs: atMs }, drives);
  assert.equal(failures.givenUp.length, 2);
});

test("of indexes that fail while drives are opened, those count whose drives are used", () => {
  const told: string[] = [];
  const failures = new IndexFailures((drive) => told.push(drive));
  failures.note("/a");
  failures.leaveOut("/a");
  failures.note("/b");
  assert.deepEqual(told, []);
  failures.tell();
  assert.deepEqual(told, ["/b"]);
  failures.note("/a");
  failures.note("/c");
  assert.deepEqual(told, ["/b", "/c"]);
});
