'use strict';

const enable = process.env.SESSION === 'redis';

exports.redis = { enable, package: 'egg-redis' };
exports.sessionRedis = { enable, package: 'egg-session-redis' };
