// Runs the public test suites of the protocols against the endpoint that sends back what it gets:
//
//   make test-socketio-suites
//
// The suites are fetched at these commits, from ENGINEIO_PROTOCOL and SOCKETIO_PROTOCOL if these are
// set, and lie below target/. Where they cannot be fetched, this says so and ends without an error:
// protocol.test.js has a test of each of their statements.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Gateway } from '../browser/gateway.js';

const FOLDER = fileURLToPath(new URL('../../../../target/tools/socketio-suites/', import.meta.url));
const SECOND_MS = 1000;
const SUITES = [
  {
    name: 'engine.io-protocol',
    from: process.env.ENGINEIO_PROTOCOL ?? 'https://github.com/socketio/engine.io-protocol',
    commit: 'f21de7b00ed09b3bbad2807db718ea5d6bc36aba',
    options: ['--socketio', '/engine.io/', '--socketio-echo', 'engine'],
    tests: 24,
    // docs/socketio.md has the reason.
    deviations: ['Engine.IO protocol message HTTP long-polling closes the session upon duplicate poll requests'],
  },
  {
    name: 'socket.io-protocol',
    from: process.env.SOCKETIO_PROTOCOL ?? 'https://github.com/socketio/socket.io-protocol',
    commit: '4f633dd6a4445492d57af3b27ddd2d336014f1f1',
    options: ['--socketio', '/socket.io/', '--socketio-echo', 'socket'],
    tests: 32,
    deviations: [],
  },
];

/** The folder of a suite, fetched and installed. */
function install({ name, from, commit }) {
  const folder = join(FOLDER, name);
  const git = (...args) => execFileSync('git', ['-C', folder, ...args], { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
  if (!existsSync(join(folder, 'test-suite/test-suite.js'))) {
    mkdirSync(folder, { recursive: true });
    git('init', '--quiet');
    git('fetch', '--quiet', '--depth', '1', from, commit);
  }
  git('checkout', '--quiet', '--force', commit);
  const suite = join(folder, 'test-suite');
  execFileSync('npm', ['ci', '--silent', '--no-audit', '--no-fund'], { cwd: suite, stdio: 'inherit' });
  return suite;
}

/** The suite asks a server at a fixed address, with pings that a gateway cannot be set to. */
function aim(suite, origin) {
  const file = join(suite, 'test-suite.js');
  const text = readFileSync(file, 'utf8')
    .replace('"http://localhost:3000"', JSON.stringify(origin))
    .replace('PING_INTERVAL = 300', `PING_INTERVAL = ${SECOND_MS}`)
    .replace('PING_TIMEOUT = 200', `PING_TIMEOUT = ${SECOND_MS}`)
    .replaceAll('this.timeout(5000)', 'this.timeout(60000)');
  writeFileSync(file, text);
}

async function run(suite, { name, options, tests, deviations }) {
  const pings = ['--socketio-ping-interval', '1', '--socketio-ping-timeout', '1', '--max-body-bytes', '1000000'];
  const gateway = await Gateway.start('127.0.0.1:0', [...options, ...pings]);
  try {
    aim(suite, gateway.origin);
    const args = ['test-suite.js', '--reporter', 'json', '--timeout', '60000', '--exit'];
    const ran = spawnSync(join(suite, 'node_modules/.bin/mocha'), args, { cwd: suite, encoding: 'utf8', timeout: 600_000 });
    const report = JSON.parse(ran.stdout.slice(ran.stdout.indexOf('{\n')));
    const failed = report.failures.map(({ fullTitle }) => fullTitle);
    const others = failed.filter((title) => !deviations.includes(title));
    const gone = deviations.filter((title) => !failed.includes(title));
    console.log(`${name}: ${report.stats.passes} of ${report.stats.tests} hold, ${failed.length} deviate`);
    report.failures.filter(({ fullTitle }) => others.includes(fullTitle)).forEach(({ fullTitle, err }) => console.error(`  ${fullTitle}: ${err.message}`));
    gone.forEach((title) => console.error(`  no deviation any more: ${title}`));
    return report.stats.tests === tests && others.length + gone.length === 0;
  } finally {
    await gateway.stop();
  }
}

let holds = true;
for (const suite of SUITES) {
  let folder;
  try {
    folder = install(suite);
  } catch (error) {
    console.error(`${suite.name} cannot be fetched and is left out: ${String(error.stderr ?? error).trim().split('\n').at(-1)}`);
    continue;
  }
  holds = await run(folder, suite) && holds;
}
process.exitCode = holds ? 0 : 1;
