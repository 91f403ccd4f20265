// What docs/testing.md uses of Jest, for machines without it: `node jest.mjs FILE`.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const tests = [];
const before = [];
globalThis.test = (name, run) => tests.push([name, run]);
globalThis.beforeEach = (run) => before.push(run);
globalThis.expect = (value) => ({
  toBe: (wanted) => assert.equal(value, wanted),
  toEqual: (wanted) => assert.deepEqual(value, wanted),
});

await import(pathToFileURL(process.argv[2]).href);
let failed = 0;
for (const [name, run] of tests) {
  try {
    for (const one of before) await one();
    await run();
  } catch (error) {
    failed += 1;
    console.error(name, error);
  }
}
console.log(`${tests.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
