// Application servers that pass requests on: Node.js and Bun from npm, Spring from Maven.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { maven, NEWER_NODE, npm } from '../install.js'

const run = promisify(execFile)

const server = (name, section, packages, more = {}) => ({
  name,
  section,
  version: Object.values(packages)[0],
  inPlace: true,
  install: () => npm(name.replaceAll(/\W+/g, '-').toLowerCase(), packages, NEWER_NODE),
  command: () => [NEWER_NODE, 'server.mjs'],
  ...more,
})

const EXPRESS = { express: '5.3.0' }

const SPRING = '5.0.4'
const POM = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId><artifactId>proxy</artifactId><version>1</version>
  <parent>
    <groupId>org.springframework.boot</groupId><artifactId>spring-boot-starter-parent</artifactId><version>4.0.7</version>
  </parent>
  <dependencies>
    <dependency>
      <groupId>org.springframework.cloud</groupId>
      <artifactId>spring-cloud-starter-gateway-server-webflux</artifactId><version>${SPRING}</version>
    </dependency>
  </dependencies>
</project>
`
const spring = {
  name: 'Spring Cloud Gateway',
  section: 'Spring Cloud Gateway',
  version: SPRING,
  install: () => maven('spring', POM),
  files: {
    'proxy/Application.java': `package proxy;
@org.springframework.boot.autoconfigure.SpringBootApplication
public class Application {
  public static void main(String[] options) {
    org.springframework.boot.SpringApplication.run(Application.class, options);
  }
}
`,
  },
  build: (lib, folder) => run('javac', ['-cp', `${lib}/*`, '-d', folder, `${folder}/proxy/Application.java`]),
  command: (lib, port, folder) => [
    'java',
    '-Xmx256m',
    '-cp',
    `${folder}:${lib}/*`,
    'proxy.Application',
    `--server.port=${port}`,
    '--server.address=127.0.0.1',
    `--spring.config.location=file:${folder}/application.yaml`,
  ],
  plain: {
    'application.yaml': `spring.cloud.gateway.server.webflux:
  routes: [{ id: gateway, uri: "http://127.0.0.1:8080", predicates: ["Path=/v1/**"] }]
`,
  },
}

export const applications = [
  server(
    'http-proxy-middleware 4',
    'Express with http-proxy-middleware',
    { 'http-proxy-middleware': '4.2.2', ...EXPRESS },
    {
      plain: {
        'server.mjs': `import express from 'express'
import { createProxyMiddleware } from 'http-proxy-middleware'
const app = express()
app.use(createProxyMiddleware({ target: 'http://127.0.0.1:8080', pathFilter: '/v1', changeOrigin: true, ws: true }))
app.listen(3000)
`,
      },
    },
  ),
  server('http-proxy-middleware 3', 'Express with http-proxy-middleware', {
    'http-proxy-middleware': '3.0.11',
    ...EXPRESS,
  }),
  server('http-proxy', 'Express with http-proxy', { 'http-proxy': '1.18.1', ...EXPRESS }, { plain: 'documented' }),
  server(
    'express-http-proxy',
    'Express with express-http-proxy',
    { 'express-http-proxy': '2.1.2', ...EXPRESS },
    {
      plain: {
        'server.mjs': `import express from 'express'
import proxy from 'express-http-proxy'
const app = express()
app.use('/v1', proxy('http://127.0.0.1:8080', { proxyReqPathResolver: (request) => request.originalUrl }))
app.listen(3000)
`,
      },
    },
  ),
  server(
    'Hono',
    'Hono',
    { hono: '4.13.19', '@hono/node-server': '2.1.9' },
    {
      plain: {
        'server.mjs': `import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { proxy } from 'hono/proxy'
const app = new Hono()
app.all('/v1/*', (c) => {
  const { pathname, search } = new URL(c.req.url)
  return proxy(\`http://127.0.0.1:8080\${pathname}\${search}\`, c.req)
})
serve({ fetch: app.fetch, port: 3000 })
`,
      },
    },
  ),
  server(
    'Fastify',
    'Fastify',
    { '@fastify/http-proxy': '11.6.3', fastify: '5.12.8' },
    {
      plain: {
        'server.mjs': `import proxy from '@fastify/http-proxy'
import fastify from 'fastify'
const server = fastify()
server.register(proxy, { upstream: 'http://127.0.0.1:8080', prefix: '/v1', rewritePrefix: '/v1', websocket: true })
server.listen({ port: 3000 })
`,
      },
    },
  ),
  server(
    'Bun',
    'Bun',
    { bun: '1.4.5' },
    {
      command: (folder) => [`${folder}/node_modules/bun/bin/bun.exe`, 'server.js'],
      plain: {
        'server.js': `Bun.serve({
  port: 3000,
  fetch(request) {
    const { pathname, search } = new URL(request.url)
    return fetch('http://127.0.0.1:8080' + pathname + search, request)
  },
})
`,
      },
    },
  ),
  spring,
]
