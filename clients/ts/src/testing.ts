/** A gateway, a clock and a page for tests: no network, no waiting. */
export { FakeClock, seededRandom, settle } from './testing/clock.js'
export { FakeLog } from './testing/log.js'
export { FakePage, FakeStorage } from './testing/page.js'
export { FakeServer, type Path } from './testing/server.js'
