// Proxies from Debian's packages, each with a configuration in a temporary folder and on loopback
// ports of its own.

import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BOUND, sleep } from './gateway.js'

/** Generous, because a busy machine is no failure. */
const START_MS = 120_000
const STOP_MS = 5000
const LOG_SHOWN = 2000

/** A loopback port that nobody holds. */
export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Whether something accepts connections there. */
export const answers = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })

/**
 * Runs one proxy in the foreground.
 * @param config what goes into its file, of (port, the gateway's port, folder).
 * @param command the program and its options, of (file, folder).
 */
async function run(gateway, config, command) {
  const folder = mkdtempSync(join(tmpdir(), 'throughline-proxy-'))
  const port = await freePort()
  const file = join(folder, 'proxy.conf')
  writeFileSync(file, config(port, gateway.port, folder))
  const [program, ...options] = command(file, folder)
  // Where Debian keeps servers, which is not on everyone's path.
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }
  // A file, because some open /dev/stderr by its name, and a pipe of Node's cannot be opened so.
  const log = openSync(join(folder, 'log'), 'a')
  const child = spawn(BOUND, [program, ...options], { stdio: ['ignore', log, log], env })
  // Squid changes its user, and is bound to nobody from then on.
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  let failure = null
  child.once('error', (error) => {
    failure = error
  })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const close = async () => {
    const late = setTimeout(kill, STOP_MS)
    child.kill('SIGTERM')
    if (!failure) await ended
    clearTimeout(late)
    process.removeListener('exit', kill)
    rmSync(folder, { recursive: true, force: true })
  }
  const end = Date.now() + START_MS
  while (!(await answers(port))) {
    if (!failure && child.exitCode === null && Date.now() < end) {
      await sleep(50)
      continue
    }
    const said = failure ?? readFileSync(join(folder, 'log'), 'utf8').slice(-LOG_SHOWN)
    await close()
    throw new Error(`${program} did not start: ${said}`)
  }
  return { port, close }
}

/** A proxy in front of the gateway: the page's origin is the proxy. */
const inFront =
  (config, command, scheme = 'http') =>
  async (gateway) => {
    const { port, close } = await run(gateway, config, command)
    return { origin: `${scheme}://127.0.0.1:${port}`, close }
  }

const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']

/** What a server needs for TLS, with a certificate of its own making. */
function tls(folder) {
  const [key, certificate] = [`${folder}/key.pem`, `${folder}/certificate.pem`]
  const wanted = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost'
  execFileSync('openssl', ['req', ...wanted.split(' '), '-keyout', key, '-out', certificate], { stdio: 'ignore' })
  return `ssl_certificate ${certificate}; ssl_certificate_key ${key};`
}

/** nginx with `proxy_pass` and these lines more; on `https` with HTTP/2. */
export const nginx = (lines, scheme = 'http') =>
  inFront(
    (port, target, folder) => `
daemon off; master_process off; pid ${folder}/pid; error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  ${TEMPORARY.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n  ')}
  map $http_upgrade $connection_upgrade { default upgrade; '' close; }
  server {
    listen 127.0.0.1:${port} ${scheme === 'https' ? `ssl http2; ${tls(folder)}` : ';'}
    location / { proxy_pass http://127.0.0.1:${target}; ${lines} }
  }
}
`,
    (file, folder) => ['nginx', '-p', folder, '-c', file],
    scheme,
  )

/** nginx as its documentation sets it up for WebSocket. */
export const UPGRADE = `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade; proxy_set_header Host $http_host; proxy_buffering off;`

const MODULES = ['mpm_event', 'authz_core', 'proxy', 'proxy_http']

/** Apache with `ProxyPass` and nothing more. */
export const apache = inFront(
  (port, target, folder) => `
ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
DefaultRuntimeDir ${folder}
Listen 127.0.0.1:${port}
ErrorLog /dev/stderr
${MODULES.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
ProxyPass / http://127.0.0.1:${target}/
`,
  (file) => ['apache2', '-X', '-f', file],
)

/** HAProxy with the timeouts of Debian's example configuration. */
export const haproxy = inFront(
  (port, target) => `
defaults
  mode http
  timeout connect 5000
  timeout client 50000
  timeout server 50000
frontend entry
  bind 127.0.0.1:${port}
  default_backend gateway
backend gateway
  server one 127.0.0.1:${target}
`,
  (file) => ['haproxy', '-db', '-f', file],
)

/** A forward proxy of the browser: the page's origin is the gateway itself. */
const ahead = (config, command) => async (gateway) => {
  const { port, close } = await run(gateway, config, command)
  return { origin: `http://127.0.0.1:${gateway.port}`, forward: `http://127.0.0.1:${port}`, close }
}

/**
 * squid, open to loopback. CONNECT is for port 443 alone, as Debian ships it: so no WebSocket to an
 * http page.
 */
export const squid = ahead(
  (port, _target, folder) => `
http_port 127.0.0.1:${port}
pid_filename ${folder}/pid
cache_log /dev/stderr
access_log none
cache_store_log none
cache_mem 8 MB
coredump_dir ${folder}
netdb_filename none
acl SSL_ports port 443
acl CONNECT method CONNECT
http_access deny CONNECT !SSL_ports
http_access allow localhost
http_access deny all
shutdown_lifetime 0 seconds
`,
  (file) => ['squid', '-N', '-f', file],
)

/** tinyproxy, open to loopback, CONNECT for port 443 alone. */
export const tinyproxy = ahead(
  (port) => `
Port ${port}
Listen 127.0.0.1
Timeout 600
MaxClients 50
Allow 127.0.0.1
ConnectPort 443
`,
  (file) => ['tinyproxy', '-d', '-c', file],
)
