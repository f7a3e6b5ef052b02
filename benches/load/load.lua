-- wrk's part: takes turns over the Cookie lines in the file that COOKIES names, so that every
-- proxy is sent the very same bytes, and reports in one line that `run` reads. With BODY_BYTES,
-- requests are POSTs of so many bytes and carry the first line alone: each is kept in memory.

local requests = {}
local turn = 0

function init()
  local path = os.getenv("LOAD_PATH")
  local body_bytes = tonumber(os.getenv("BODY_BYTES"))
  local method, body = "GET", nil
  if body_bytes > 0 then
    method, body = "POST", string.rep("x", body_bytes)
  end
  for line in io.lines(os.getenv("COOKIES")) do
    requests[#requests + 1] = wrk.format(method, path, { ["Host"] = wrk.headers["Host"], ["Cookie"] = line }, body)
    if body then
      break
    end
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "us": %d, "p50_us": %d, "p99_us": %d, "errors": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status
  ))
end
