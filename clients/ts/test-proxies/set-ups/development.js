// Development servers of web frameworks, from npm. `plain` holds the lines that a user writes who
// has not read docs/proxies.md: what the table says about "without" is what `run.js --plain` shows
// with them.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { NEWER_NODE, npm } from '../install.js'

const run = promisify(execFile)
const BUILD_MS = 600_000
const HTML = '<!doctype html><title>page</title><script type="module" src="/main.js"></script>\n'

const vite = (name, version, more = {}) => ({
  name,
  section: 'Vite',
  packages: { vite: version },
  files: { 'index.html': HTML, 'main.js': '' },
  script: (port) => ['vite/bin/vite.js', '--port', port, '--strictPort', '--host', '127.0.0.1'],
  ...more,
})

const webpack = (name, version, section) => ({
  name,
  section,
  packages: { 'webpack-dev-server': version, webpack: '5.113.0', 'webpack-cli': '6.0.1' },
  files: { 'src/index.js': '', 'public/index.html': HTML, 'package.json': '{"type":"module"}' },
  script: (port) => ['webpack/bin/webpack.js', 'serve', '--mode', 'development', '--port', port, '--host', '127.0.0.1'],
  plain: {
    'webpack.config.js': `export default { devServer: { proxy: [{ context: ['/v1'], target: 'http://127.0.0.1:8080' }] } }\n`,
  },
})

const ANGULAR = '22.2.6'
const angular = {
  name: 'Angular CLI 22',
  section: 'Angular',
  packages: {
    '@angular/cli': '22.2.7',
    ...Object.fromEntries(
      ['common', 'compiler', 'compiler-cli', 'core', 'platform-browser', 'build'].map((part) => [
        `@angular/${part}`,
        ANGULAR,
      ]),
    ),
    rxjs: '7.8.2',
    tslib: '2.8.1',
    typescript: '6.0.3',
  },
  files: {
    'angular.json': JSON.stringify({
      version: 1,
      cli: { analytics: false },
      projects: {
        page: {
          projectType: 'application',
          root: '',
          sourceRoot: 'src',
          architect: {
            build: {
              builder: '@angular/build:application',
              options: { browser: 'src/main.ts', index: 'src/index.html', tsConfig: 'tsconfig.json' },
              configurations: { development: { optimization: false } },
            },
            serve: {
              builder: '@angular/build:dev-server',
              configurations: { development: { buildTarget: 'page:build:development' } },
              defaultConfiguration: 'development',
            },
          },
        },
      },
    }),
    'tsconfig.json': JSON.stringify({
      compilerOptions: { target: 'ES2022', module: 'preserve', moduleResolution: 'bundler', skipLibCheck: true },
      files: ['src/main.ts'],
    }),
    'src/main.ts': 'document.title = "page"\n',
    'src/index.html': '<!doctype html><title>page</title><body></body>\n',
  },
  script: (port) => [
    '@angular/cli/bin/ng.js',
    'serve',
    '--proxy-config',
    'proxy.conf.mjs',
    '--port',
    port,
    '--host',
    '127.0.0.1',
  ],
  plain: { 'proxy.conf.mjs': `export default { '/v1': { target: 'http://127.0.0.1:8080', secure: false } }\n` },
}

const NEXT_FILES = {
  'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>\n',
  'app/page.js': 'export default () => <p>page</p>\n',
}
const next = (name, more) => ({
  name,
  section: 'Next.js',
  packages: { next: '16.4.6', react: '19.3.1', 'react-dom': '19.3.1' },
  files: NEXT_FILES,
  env: { NEXT_TELEMETRY_DISABLED: '1' },
  ...more,
})

const nuxt = (name, section, more) => ({
  name,
  section,
  packages: { nuxt: '4.5.2' },
  files: { 'app.vue': '<template><p>page</p></template>\n' },
  env: { NUXT_TELEMETRY_DISABLED: '1' },
  ...more,
})
const NUXT_PLAIN = {
  'nuxt.config.ts': `export default defineNuxtConfig({ routeRules: { '/v1/**': { proxy: 'http://127.0.0.1:8080/v1/**' } } })\n`,
}

const all = [
  vite('Vite 8', '8.4.0', {
    node: process.execPath,
    short: true,
    plain: { 'vite.config.js': `export default { server: { proxy: { '/v1': 'http://127.0.0.1:8080' } } }\n` },
  }),
  vite('Vite 8, changeOrigin', '8.4.0', {
    section: null,
    plain: {
      'vite.config.js': `export default { server: { proxy: { '/v1': { target: 'http://127.0.0.1:8080', ws: true, changeOrigin: true } } } }\n`,
    },
  }),
  vite('Vite 7', '7.3.8'),
  angular,
  webpack('webpack-dev-server 6', '6.1.0', 'webpack-dev-server'),
  webpack('webpack-dev-server 5', '5.2.7', 'webpack-dev-server 5'),
  next('Next.js 16, dev', {
    script: (port) => ['next/dist/bin/next', 'dev', '-p', port, '-H', '127.0.0.1'],
    plain: 'documented',
  }),
  next('Next.js 16, build', {
    prepare: ['next/dist/bin/next', 'build'],
    script: (port) => ['next/dist/bin/next', 'start', '-p', port, '-H', '127.0.0.1'],
  }),
  nuxt('Nuxt 4, dev', 'Nuxt, development', {
    script: (port) => ['nuxt/bin/nuxt.mjs', 'dev', '--port', port, '--host', '127.0.0.1'],
    plain: NUXT_PLAIN,
  }),
  nuxt('Nuxt 4, build', 'Nuxt, production', {
    prepare: ['nuxt/bin/nuxt.mjs', 'build'],
    program: (_port, folder) => [`${folder}/.output/server/index.mjs`],
    plain: 'documented',
  }),
]

/**
 * A program of Node's, in the folder that has its packages: these tools look for them in their
 * project.
 */
export const development = all.map(({ node = NEWER_NODE, ...setUp }) => ({
  ...setUp,
  version: setUp.packages[Object.keys(setUp.packages)[0]],
  inPlace: true,
  servesPage: true,
  install: () => npm(setUp.name.replaceAll(/\W+/g, '-').toLowerCase(), setUp.packages, node),
  async build(folder, _, env) {
    if (!setUp.prepare) return
    const [script, ...options] = setUp.prepare
    await run(node, [`${folder}/node_modules/${script}`, ...options], { cwd: folder, env, timeout: BUILD_MS })
  },
  command(folder, port) {
    if (setUp.program) return [node, ...setUp.program(port, folder)]
    const [script, ...options] = setUp.script(String(port))
    return [node, `${folder}/node_modules/${script}`, ...options]
  },
}))
