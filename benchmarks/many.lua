-- Sends requests drawn evenly from the lines of the file that the first argument names: a path, a space, a token.
local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
end

function init(args)
    math.randomseed(number)
    local requests = {}
    for line in io.lines(args[1]) do
        local path, token = line:match("^(%S+) ?(%S*)$")
        requests[#requests + 1] = wrk.format("GET", path, { ["Authorization"] = "Bearer " .. token })
    end
    request = function()
        return requests[math.random(#requests)]
    end
end
