'use strict';

const path = require('node:path');

module.exports = () => {
  const directory = process.env.RUN_DIR;
  const config = {
    // The first encrypts and signs, all of them are tried.
    keys: 'fixture-key-1,fixture-key-0',
    rundir: path.join(directory, 'run'),
    logger: { dir: path.join(directory, 'logs'), consoleLevel: 'ERROR', buffer: false },
    cluster: { listen: { hostname: '127.0.0.1' } },
    proxy: process.env.PROXY === '1',
    security: { csrf: { enable: process.env.CSRF === '1' } },
    // What is echoed is not parsed.
    bodyParser: { ignore: '/echo' },
  };
  if (process.env.PROXY === '1') config.hostHeaders = 'x-forwarded-host';
  if (process.env.COOKIE_SECURE === '1') config.session = { secure: true };
  if (process.env.SESSION === 'redis') {
    const url = new URL(process.env.REDIS_URL);
    config.redis = {
      client: { host: url.hostname, port: Number(url.port), password: '', db: Number(url.pathname.slice(1) || 0) },
    };
  }
  return config;
};
