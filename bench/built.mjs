/** Runs the command line as it is published: compiled, so that stripping types takes neither time nor memory. */
const { main } = await import("../dist/cli/main.js");
await main(process.argv);
