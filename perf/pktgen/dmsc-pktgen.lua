-- Replays DMSC frames from a capture file by port 0 of Pktgen-DPDK at rising rates, and tells what came back by port 1.
--
--   pktgen -l 0-4 -n 4 -a 0000:17:00.0 -a 0000:17:00.1 -- -P -T -m "[1:2].0,[3:4].1" \
--          -s 0:name-128.pcap -s 1:hello-out.pcap -f dmsc-pktgen.lua
--
-- Both files are written by `dmsc-perf pcap --agent …` for one start of the router: the hellos in them keep its neighbours up
-- for a minute, and so all rates together must take less.

package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;"
require "Pktgen"

local rates = { 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100 } -- % of the line
local trial_ms = 2000
local settle_ms = 500

pktgen.screen("off")
pktgen.clr()
pktgen.pcap("all", "on")
-- The neighbour behind the router says hello; it sends nothing else.
pktgen.set("1", "rate", 0.001)
pktgen.start("1")
pktgen.delay(1000)

-- The first trial is a warm-up: it is not told.
for trial = 0, #rates do
  local rate = rates[math.max(trial, 1)]
  pktgen.clr()
  pktgen.set("0", "rate", rate)
  pktgen.delay(settle_ms)
  pktgen.start("0")
  pktgen.delay(trial_ms)
  pktgen.stop("0")
  pktgen.delay(settle_ms) -- the last frames
  local stats = pktgen.portStats("all", "port")
  local sent, received = stats[0].opackets, stats[1].ipackets
  if trial > 0 then
    printf("%3d %%: sent %d, received %d, lost %.4f %%, %.3f Mpps\n", rate, sent, received,
      100 * (sent - received) / math.max(sent, 1), received / trial_ms / 1000)
  end
end
pktgen.stop("1")
pktgen.quit()
