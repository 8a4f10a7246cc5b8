-- Wireshark dissector of the DMSC packet format, version 1 (Distributed Micro Service Communication).
-- Written from FORMAT.md; shares nothing with the Rust crate. Load with `-X lua_script:dmsc.lua`, or copy to the
-- personal Lua plugins folder. An invalid packet has the field dmsc.invalid with the reason of FORMAT.md, section 8.

local dmsc = Proto("dmsc", "Distributed Micro Service Communication")

dmsc.prefs.udp_port = Pref.uint("UDP port", 35029, "UDP port that carries DMSC")

local KINDS = {
  [0] = "request", "response", "echo-request", "echo-reply", "error", "hello", "probe",
}
local ECNS = { [0] = "not capable", "ECT(1)", "ECT(0)", "CE" }
local OPTIONS = { [0x00] = "PAD", [0x41] = "RECORD" }
local CODES = { "no-route", "hop-limit", "too-big", "denied", "source-not-owned", "overloaded" }
local HEALTHS = { [0] = "healthy", "draining", "overloaded" }
local STATES = { [0] = "down", "init", "up" }

local PAD, RECORD = 0x00, 0x41
local FIXED, LARGEST = 40, 1024

local f = {}
local function field(kind, name, label, ...)
  f[name] = ProtoField[kind]("dmsc." .. name, label, ...)
end

field("uint8", "version", "Version", base.DEC, nil, 0xf0)
field("uint8", "kind", "Type", base.DEC, KINDS, 0x0f)
field("uint8", "flags", "Flags", base.DEC)
field("bool", "flags.pinned", "Pinned", 8, nil, 0x80)
field("bool", "flags.idempotent", "Idempotent", 8, nil, 0x40)
field("bool", "flags.telemetry", "Telemetry", 8, nil, 0x20)
field("bool", "flags.rebound", "Rebound", 8, nil, 0x10)
field("bool", "flags.first", "First", 8, nil, 0x08)
field("bool", "flags.last", "Last", 8, nil, 0x04)
field("bool", "flags.by_delay", "By delay", 8, nil, 0x02)
field("uint8", "hop_limit", "Hop limit", base.DEC)
field("uint8", "class", "Class", base.DEC, nil, 0xe0)
field("uint8", "ecn", "ECN", base.DEC, ECNS, 0x18)
field("uint16", "header_len", "Header length", base.DEC)
field("uint16", "payload_len", "Payload length", base.DEC)
field("uint32", "domain", "Domain", base.DEC)
field("uint32", "flow_label", "Flow label", base.DEC)
field("uint64", "request_id", "Request id", base.DEC)
field("uint32", "source_gateway", "Source gateway", base.DEC)
field("uint32", "destination_gateway", "Destination gateway", base.DEC)
field("uint16", "source_attachment", "Source attachment", base.DEC)
field("uint16", "destination_attachment", "Destination attachment", base.DEC)
field("string", "destination_name", "Destination name")
field("string", "source_name", "Source name")
field("uint8", "option.type", "Option type", base.DEC, OPTIONS)
field("uint8", "option.len", "Option length", base.DEC)
field("bytes", "option.value", "Option value")
field("uint8", "record.slots", "Slots", base.DEC)
field("uint8", "record.used", "Used slots", base.DEC)
field("uint32", "record.node", "Node", base.DEC)
field("uint16", "record.in_port", "In port", base.DEC)
field("uint16", "record.out_port", "Out port", base.DEC)
field("uint32", "record.residence", "Residence (ns)", base.DEC)
field("bytes", "payload", "Payload")
field("uint8", "error.code", "Code", base.DEC, CODES)
field("uint16", "error.mtu", "MTU", base.DEC)
field("uint32", "error.node", "Node", base.DEC)
field("uint64", "error.request_id", "Request id of the offender", base.DEC)
field("bytes", "error.offender", "Offender")
field("uint32", "hello.node", "Node", base.DEC)
field("uint16", "hello.port", "Port", base.DEC)
field("uint8", "hello.state", "State", base.DEC, STATES)
field("uint8", "hello.flags", "Flags", base.DEC)
field("uint64", "hello.boot_nonce", "Boot nonce", base.DEC)
field("uint64", "hello.sequence", "Sequence", base.DEC)
field("uint8", "hello.version_min", "Lowest version", base.DEC)
field("uint8", "hello.version_max", "Highest version", base.DEC)
field("uint16", "hello.interval", "Interval (ms)", base.DEC)
field("uint8", "hello.multiplier", "Multiplier", base.DEC)
field("uint16", "hello.mtu", "MTU", base.DEC)
field("uint32", "hello.heard.node", "Heard node", base.DEC)
field("uint16", "hello.heard.port", "Heard port", base.DEC)
field("uint8", "hello.heard.state", "Heard state", base.DEC, STATES)
field("uint64", "hello.heard.boot_nonce", "Heard boot nonce", base.DEC)
field("uint64", "hello.heard.sequence", "Heard sequence", base.DEC)
field("uint16", "hello.key_id", "Key id", base.DEC)
field("bytes", "hello.mac", "MAC")
field("uint64", "probe.id", "Id", base.DEC)
field("uint64", "probe.t1", "Left the sender (ns)", base.DEC)
field("uint64", "probe.t2", "Arrived at the answerer (ns)", base.DEC)
field("uint64", "probe.t3", "Left the answerer (ns)", base.DEC)
field("uint64", "probe.t4", "Arrived back (ns)", base.DEC)
field("uint8", "probe.health", "Health", base.DEC, HEALTHS)
field("uint8", "probe.flags", "Flags", base.DEC)
field("uint16", "probe.load", "Load (thousandths)", base.DEC)
field("string", "invalid", "Invalid")

local all = {}
for _, one in pairs(f) do
  all[#all + 1] = one
end
dmsc.fields = all

local invalid = ProtoExpert.new("dmsc.invalid.expert", "invalid DMSC packet", expert.group.MALFORMED, expert.severity.ERROR)
dmsc.experts = { invalid }

local function all_zero(range)
  return range:bytes():tohex():find("[^0]") == nil
end

-- Section 3: the text of a name, or nothing if it is not canonical.
local function name_text(range)
  local text, count, at, length = {}, 0, 0, range:len()
  while at < length do
    local size = range(at, 1):uint()
    count = count + 1
    if size == 0 or count > 16 or at + 1 + size > length then
      return nil
    end
    text[#text + 1] = "/"
    for i = at + 1, at + size do
      local byte = range(i, 1):uint()
      local char = string.char(byte)
      text[#text + 1] = char:find("^[A-Za-z0-9._~%-]$") and char or string.format("%%%02X", byte)
    end
    at = at + 1 + size
  end
  return table.concat(text)
end

-- Section 4: adds the option area to the tree; the reason if it is invalid.
local function options(area, tree, recordable)
  local at, length, end_to_end, recorded = 0, area:len(), false, false
  while at < length do
    if length - at < 2 or at + 2 + area(at + 1, 1):uint() > length then
      return "option-truncated"
    end
    local code, size = area(at, 1):uint(), area(at + 1, 1):uint()
    local branch = tree:add(dmsc, area(at, 2 + size), "Option " .. (OPTIONS[code] or string.format("0x%02x", code)))
    branch:add(f["option.type"], area(at, 1))
    branch:add(f["option.len"], area(at + 1, 1))
    if code == PAD then
      if size > 0 and not all_zero(area(at + 2, size)) then
        return "pad-not-zero"
      end
    else
      local hop_by_hop = math.floor(code / 64) % 2 == 1
      if hop_by_hop and end_to_end then
        return "option-order"
      end
      end_to_end = end_to_end or not hop_by_hop
      if code == RECORD then
        if recorded then
          return "record-repeated"
        elseif not recordable then
          return "record-not-allowed"
        elseif size < 16 or (size - 4) % 12 ~= 0 or size > 244 or area(at + 2, 1):uint() > (size - 4) / 12 then
          return "record-shape"
        end
        recorded = true
        local used = area(at + 2, 1):uint()
        branch:add(f["record.slots"], area(at + 1, 1), (size - 4) / 12)
        branch:add(f["record.used"], area(at + 2, 1))
        for slot = at + 6, at + 6 + 12 * (used - 1), 12 do
          branch:add(f["record.node"], area(slot, 4))
          branch:add(f["record.in_port"], area(slot + 4, 2))
          branch:add(f["record.out_port"], area(slot + 6, 2))
          branch:add(f["record.residence"], area(slot + 8, 4))
        end
      elseif code >= 0x80 then
        return "unknown-option"
      elseif size > 0 then
        branch:add(f["option.value"], area(at + 2, size))
      end
    end
    at = at + 2 + size
  end
end

-- Section 5.
local function error_payload(body, tree)
  local length = body and body:len() or 0
  if length < 56 or length > 144 then
    return "error-bad-length"
  end
  local code = body(0, 1):uint()
  tree:add(f["error.code"], body(0, 1))
  if not CODES[code] then
    return "error-bad-code"
  end
  tree:add(f["error.mtu"], body(2, 2))
  tree:add(f["error.node"], body(4, 4))
  tree:add(f["error.request_id"], body(8, 8))
  tree:add(f["error.offender"], body(16))
end

-- Section 6.
local function hello_payload(body, tree)
  if not body or body:len() ~= 76 then
    return "hello-bad-length"
  end
  local heard = body(7, 1):uint() == 1
  for _, one in ipairs({
    { "node", 0, 4 }, { "port", 4, 2 }, { "state", 6, 1 }, { "flags", 7, 1 }, { "boot_nonce", 8, 8 },
    { "sequence", 16, 8 }, { "version_min", 24, 1 }, { "version_max", 25, 1 }, { "interval", 26, 2 },
    { "multiplier", 28, 1 }, { "mtu", 30, 2 }, { "key_id", 56, 2 }, { "mac", 60, 16 },
  }) do
    tree:add(f["hello." .. one[1]], body(one[2], one[3]))
  end
  if heard then
    tree:add(f["hello.heard.node"], body(32, 4))
    tree:add(f["hello.heard.port"], body(36, 2))
    tree:add(f["hello.heard.state"], body(38, 1))
    tree:add(f["hello.heard.boot_nonce"], body(40, 8))
    tree:add(f["hello.heard.sequence"], body(48, 8))
  end
  local zero = all_zero(body(29, 1)) and all_zero(body(58, 2))
  if heard then
    zero = zero and all_zero(body(39, 1))
  else
    zero = zero and all_zero(body(7, 1)) and all_zero(body(32, 24))
  end
  if all_zero(body(56, 2)) then
    zero = zero and all_zero(body(60, 16))
  end
  if not zero then
    return "hello-not-zero"
  elseif not STATES[body(6, 1):uint()] or heard and not STATES[body(38, 1):uint()] then
    return "hello-bad-state"
  elseif body(24, 1):uint() == 0 or body(24, 1):uint() > body(25, 1):uint() then
    return "hello-bad-versions"
  elseif all_zero(body(26, 2)) or all_zero(body(28, 1)) then
    return "hello-bad-timing"
  end
end

-- Section 7.
local function probe_payload(body, tree)
  if not body or body:len() ~= 48 then
    return "probe-bad-length"
  end
  for i, name in ipairs({ "id", "t1", "t2", "t3", "t4" }) do
    tree:add(f["probe." .. name], body(8 * (i - 1), 8))
  end
  tree:add(f["probe.health"], body(40, 1))
  tree:add(f["probe.flags"], body(41, 1))
  tree:add(f["probe.load"], body(42, 2))
  local flags = body(41, 1):uint()
  if flags > 1 or flags == 0 and not all_zero(body(40, 4)) or not all_zero(body(44, 4)) then
    return "probe-not-zero"
  elseif not HEALTHS[body(40, 1):uint()] then
    return "probe-bad-health"
  end
end

local PAYLOADS = { [4] = error_payload, [5] = hello_payload, [6] = probe_payload }

-- Sections 2 and 8: adds what can be read to the tree; the reason if the packet is invalid. Never reads beyond `have`.
local function packet(tvb, tree, info)
  local have = tvb:len()
  if have < FIXED then
    return "truncated"
  end
  local kind = tvb(0, 1):uint() % 16
  tree:add(f["version"], tvb(0, 1))
  tree:add(f["kind"], tvb(0, 1))
  if tvb(0, 1):uint() - kind ~= 0x10 then
    return "bad-version"
  elseif not KINDS[kind] then
    return "bad-kind"
  end
  local flags = tree:add(f["flags"], tvb(1, 1))
  for _, name in ipairs({ "pinned", "idempotent", "telemetry", "rebound", "first", "last", "by_delay" }) do
    flags:add(f["flags." .. name], tvb(1, 1))
  end
  tree:add(f["hop_limit"], tvb(2, 1))
  tree:add(f["class"], tvb(3, 1))
  tree:add(f["ecn"], tvb(3, 1))
  local at = 4
  for _, one in ipairs({
    { "header_len", 2 }, { "payload_len", 2 }, { "domain", 4 }, { "flow_label", 4 }, { "request_id", 8 },
    { "source_gateway", 4 }, { "destination_gateway", 4 }, { "source_attachment", 2 }, { "destination_attachment", 2 },
  }) do
    tree:add(f[one[1]], tvb(at, one[2]))
    at = at + one[2]
  end
  info.kind = KINDS[kind]
  info.id = tvb(16, 8):uint64()

  local header, payload = tvb(4, 2):uint(), tvb(6, 2):uint()
  if header < FIXED or header > LARGEST or header % 4 ~= 0 then
    return "bad-header-length"
  elseif header > have then
    return "truncated"
  elseif header + payload > have then
    return "bad-payload-length"
  end
  info.length = header + payload

  local d, s = tvb(36, 1):uint(), tvb(37, 1):uint()
  local names_end = FIXED + d + s
  local start = math.ceil(names_end / 4) * 4
  if start > header then
    return "names-overrun"
  elseif (kind <= 4 or kind == 6 and d + s > 0) and (d == 0 or s == 0) then
    return "missing-name"
  elseif kind == 5 and d + s > 0 then
    return "unexpected-name"
  end
  if d > 0 then
    local to, from = name_text(tvb(FIXED, d)), name_text(tvb(FIXED + d, s))
    if not to or not from then
      return "name-not-canonical"
    end
    tree:add(f["destination_name"], tvb(FIXED, d), to)
    tree:add(f["source_name"], tvb(FIXED + d, s), from)
    info.names = from .. " > " .. to
  end
  if start > names_end and not all_zero(tvb(names_end, start - names_end)) then
    return "padding-not-zero"
  end
  if header > start then
    local sampled = math.floor(tvb(1, 1):uint() / 0x20) % 2 == 1
    local reason = options(tvb(start, header - start), tree, kind == 2 or kind == 3 or kind == 0 and sampled)
    if reason then
      return reason
    end
  end
  local body = payload > 0 and tvb(header, payload) or nil
  if PAYLOADS[kind] then
    return PAYLOADS[kind](body, tree)
  elseif body then
    tree:add(f["payload"], body)
  end
end

function dmsc.dissector(tvb, pinfo, root)
  local tree, info = root:add(dmsc, tvb()), {}
  pinfo.cols.protocol = "DMSC"
  -- A capture cut by its snap length says nothing about the packet.
  if tvb:len() < tvb:reported_len() then
    tree:append_text(" (cut by the capture)")
    pinfo.cols.info = "cut by the capture"
    return tvb:len()
  end
  local reason = packet(tvb, tree, info)
  local summary = (info.kind or "?") .. (info.names and " " .. info.names or "")
  if info.id then
    summary = summary .. " id " .. tostring(info.id)
  end
  if reason then
    tree:add(f["invalid"], tvb(), reason):set_generated()
    tree:add_proto_expert_info(invalid, "invalid: " .. reason)
    summary = summary .. " [invalid: " .. reason .. "]"
  end
  pinfo.cols.info = summary
  tree:append_text(", " .. summary)
  if info.length and not reason then
    tree:set_len(info.length)
  end
  return tvb:len()
end

DissectorTable.get("ethertype"):add(0x88B5, dmsc)

local udp, port = DissectorTable.get("udp.port"), dmsc.prefs.udp_port
udp:add(port, dmsc)
function dmsc.prefs_changed()
  if port ~= dmsc.prefs.udp_port then
    udp:remove(port, dmsc)
    port = dmsc.prefs.udp_port
    udp:add(port, dmsc)
  end
end
