// Prints what @asyncapi/parser has to say about asyncapi.yaml, and fails on errors and warnings.
import { fileURLToPath } from 'node:url';
import { Parser, fromFile } from '@asyncapi/parser';

const WARNING = 1;
// 3.0.0 is what we mean, however many versions follow.
const EXPECTED = new Set(['asyncapi-latest-version']);

const path = fileURLToPath(new URL('asyncapi.yaml', import.meta.url));
const { document, diagnostics } = await fromFile(new Parser(), path).parse();
const found = diagnostics.filter(({ code }) => !EXPECTED.has(code));
for (const { code, message, range, severity } of found) {
  console.error(`asyncapi.yaml:${range.start.line + 1}: ${severity <= WARNING ? 'error' : 'note'}: ${code}: ${message}`);
}
if (!document || found.some(({ severity }) => severity <= WARNING)) process.exit(1);
console.log('asyncapi.yaml is valid');
