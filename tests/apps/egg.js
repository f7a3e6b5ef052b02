'use strict';

// Starts the Egg.js application in egg/ as a real cluster: a master, an agent and its workers.
//
// PORT (must be given), WORKERS (2), SESSION (cookie: Egg's default, all of the session inside an
// encrypted EGG_SESS | redis), REDIS_URL, PROXY=1 (`config.proxy`), COOKIE_SECURE=1, CSRF=1,
// REGENERATE=1 (a new identifier at login), LOGIN_FAILURE, RUN_DIR (an existing directory for
// what Egg writes; a temporary one where it is not given).

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const shared = require('./shared');

const port = shared.number(process.env.PORT, 0, 65_535);
if (port === 0) {
  console.error('PORT must name a port: Egg has no "any"');
  process.exit(1);
}
if (!process.env.RUN_DIR) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'egg-'));
  process.env.RUN_DIR = directory;
  process.on('exit', () => fs.rmSync(directory, { recursive: true, force: true }));
}
// In any other environment the development plugin watches files. The logs go to RUN_DIR.
process.env.EGG_SERVER_ENV = 'prod';
process.env.EGG_HOME = process.env.RUN_DIR;
process.env.EGG_MASTER_LOGGER_LEVEL = process.env.EGG_MASTER_LOGGER_LEVEL || 'WARN';
process.env.EGG_MASTER_CLOSE_TIMEOUT = process.env.EGG_MASTER_CLOSE_TIMEOUT || '2000';

const framework = path.dirname(require.resolve('egg/package.json'));
require('egg').startCluster({
  baseDir: path.join(__dirname, 'egg'),
  framework,
  port,
  workers: shared.number(process.env.WORKERS, 2, 16),
}, () => shared.ready(port));

// The master handles signals by itself.
shared.onOrphaned(() => process.kill(process.pid, 'SIGTERM'));
