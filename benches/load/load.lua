-- wrk's part: takes turns over the Cookie lines in the file that COOKIES names, so that every
-- proxy is sent the very same bytes, and reports in one line that `run` reads.

local requests = {}
local turn = 0

function init()
  for line in io.lines(os.getenv("COOKIES")) do
    requests[#requests + 1] = wrk.format("GET", "/", { ["Host"] = wrk.headers["Host"], ["Cookie"] = line })
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
