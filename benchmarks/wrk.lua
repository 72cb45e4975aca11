-- wrk asks for the paths of the file BENCH_PATHS at random, and prints one line of figures at its end. What follows a tab
-- is a body, which is sent by POST.
local json = { ["Content-Type"] = "application/json" }
local paths = {}
for path in io.lines(os.getenv("BENCH_PATHS")) do
    table.insert(paths, path)
end

local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init()
    math.randomseed(number)
end

function request()
    local path, body = paths[math.random(#paths)]:match("^([^\t]*)\t?(.*)$")
    if body == "" then
        return wrk.format("GET", path)
    end
    return wrk.format("POST", path, json, body)
end

function done(summary, latency)
    local errors = summary.errors
    local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
    print("figures", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
        latency:percentile(99) / 1e3, failed)
end
