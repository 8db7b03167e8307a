-- vipnet in Wireshark and tshark: the headers of what goes over the network, and, of a capture that
-- `vipnet dissect` has opened by a key log, what was sealed as well. docs/capture.md says how to use it.
--
-- The format is docs/protocol-wire.md's. Sealed datagrams are known by the port (a preference), or because a
-- handshake was seen between the same two ends: that is told by its form, whatever the port.

local PORT = 5847
local SEAL_OVERHEAD = 29 -- header 12, kind 1, tag 16

local KINDS = {
    [0] = "control",
    [1] = "IPv4",
    [2] = "TCP",
    [3] = "IPv4, partial checksum",
    [4] = "probe",
    [5] = "end of a train",
}
local TYPES = {
    [1] = "IK init",
    [2] = "IK response",
    [3] = "XX 1",
    [4] = "XX 2",
    [5] = "XX 3",
    [6] = "cookie reply",
}
-- Least and greatest size of each type: nothing else is a handshake.
local SIZES = {
    [1] = { 1200, 1200 },
    [2] = { 94, 1200 },
    [3] = { 142, 142 },
    [4] = { 142, 142 },
    [5] = { 110, 1200 },
    [6] = { 66, 66 },
}
local NAMES_SENDER = { [1] = true, [2] = true, [3] = true, [4] = true, [5] = true }
local NAMES_RECEIVER = { [2] = true, [4] = true, [5] = true, [6] = true }
-- What the Noise message begins with, by the pattern's tokens.
local NOISE = {
    [1] = { { "ephemeral", 32 }, { "static", 48 } },
    [2] = { { "ephemeral", 32 } },
    [3] = { { "ephemeral", 32 } },
    [4] = { { "ephemeral", 32 }, { "static", 48 } },
    [5] = { { "static", 48 } },
}

local vipnet = Proto("vipnet", "vipnet")
local opened = Proto("vipnet_opened", "vipnet, opened")

local f = {
    index = ProtoField.uint32("vipnet.index", "Receiver index", base.HEX),
    tail_size = ProtoField.uint8("vipnet.tail_size", "Tail size"),
    position = ProtoField.uint8("vipnet.position", "Position in its train"),
    counter = ProtoField.uint64("vipnet.counter", "Counter"),
    piece = ProtoField.bytes("vipnet.piece", "Piece"),
    ciphertext = ProtoField.bytes("vipnet.ciphertext", "Ciphertext"),
    tag = ProtoField.bytes("vipnet.tag", "Tag"),
    again = ProtoField.framenum("vipnet.again", "The same bytes as in frame", base.NONE, frametype.RETRANS_PREV),
    count = ProtoField.uint32("vipnet.count", "Datagrams, still to be cut"),
    version = ProtoField.uint8("vipnet.version", "Version"),
    type = ProtoField.uint8("vipnet.type", "Type", base.DEC, TYPES),
    sender = ProtoField.uint32("vipnet.sender", "Sender index", base.HEX),
    ephemeral = ProtoField.bytes("vipnet.ephemeral", "Ephemeral key"),
    static = ProtoField.bytes("vipnet.static", "Static key, sealed"),
    payload = ProtoField.bytes("vipnet.payload", "Payload, sealed"),
    mac1 = ProtoField.bytes("vipnet.mac1", "mac1"),
    mac2 = ProtoField.bytes("vipnet.mac2", "mac2"),
    nonce = ProtoField.bytes("vipnet.nonce", "Nonce"),
    cookie = ProtoField.bytes("vipnet.cookie", "Cookie, sealed"),
    made_in = ProtoField.framenum("vipnet.made_in", "Index chosen in frame", base.NONE, frametype.REQUEST),
    kind = ProtoField.uint8("vipnet.kind", "Kind", base.DEC, KINDS),
    sealed_by = ProtoField.string("vipnet.sealed_by", "Sealed by"),
    sealed_for = ProtoField.string("vipnet.sealed_for", "Sealed for"),
    message = ProtoField.string("vipnet.message", "Control message"),
    challenge = ProtoField.bytes("vipnet.challenge", "Challenge"),
    whole_tag = ProtoField.bytes("vipnet.whole_tag", "Tag of the whole"),
    last_flags = ProtoField.uint8("vipnet.last_flags", "TCP flags of the last segment", base.HEX),
    trailer = ProtoField.bytes("vipnet.trailer", "IPv4 and TCP header, counter, length"),
}
vipnet.fields = {}
for _, field in pairs(f) do
    table.insert(vipnet.fields, field)
end

local unknown_version = ProtoExpert.new("vipnet.unknown_version", "Another version: dropped", expert.group.PROTOCOL, expert.severity.WARN)
local malformed = ProtoExpert.new("vipnet.malformed", "Not of the form of its type: dropped", expert.group.MALFORMED, expert.severity.ERROR)
vipnet.experts = { unknown_version, malformed }

vipnet.prefs.port = Pref.uint("UDP port", PORT, "Where sealed datagrams are known without their handshake")

local made_in = {} -- index -> the frame with the handshake that chose it
local first_seen = {} -- index and counter -> the frame in which they were first

function vipnet.init()
    made_in, first_seen = {}, {}
end

-- The indexes are random: which handshake made one is known as soon as that was seen.
local function add_index(tree, range)
    tree:add(f.index, range)
    local frame = made_in[range:uint()]
    if frame then
        tree:add(f.made_in, frame):set_generated()
    end
end

-- --- handshakes

local function is_handshake(tvb)
    local size = tvb:len()
    if size < 66 or tvb(0, 4):uint() ~= 0 or tvb(4, 1):uint() ~= 1 then
        return false
    end
    local sizes = SIZES[tvb(5, 1):uint()]
    return sizes ~= nil and size >= sizes[1] and size <= sizes[2]
end

local function dissect_handshake(tvb, pinfo, tree)
    local size, version = tvb:len(), tvb(4, 1)
    tree:add(f.version, version)
    if version:uint() ~= 1 then
        tree:add_proto_expert_info(unknown_version)
        return
    end
    local kind = tvb(5, 1):uint()
    tree:add(f.type, tvb(5, 1))
    pinfo.cols.info = "Handshake, " .. (TYPES[kind] or "unknown type")
    if not is_handshake(tvb) then
        tree:add_proto_expert_info(malformed)
        return
    end
    local at = 6
    if NAMES_SENDER[kind] then
        local sender = tvb(at, 4)
        tree:add(f.sender, sender)
        made_in[sender:uint()] = made_in[sender:uint()] or pinfo.number
        at = at + 4
    end
    if NAMES_RECEIVER[kind] then
        add_index(tree, tvb(at, 4))
        at = at + 4
    end
    if kind == 6 then
        tree:add(f.nonce, tvb(at, 24))
        tree:add(f.cookie, tvb(at + 24, 32))
        return
    end
    for _, part in ipairs(NOISE[kind]) do
        tree:add(f[part[1]], tvb(at, part[2]))
        at = at + part[2]
    end
    if kind ~= 3 and size - 32 > at then
        tree:add(f.payload, tvb(at, size - 32 - at))
    end
    tree:add(f.mac1, tvb(size - 32, 16))
    tree:add(f.mac2, tvb(size - 16, 16))
end

-- --- sealed datagrams

-- The counter, and the tail's size: of a piece of a train it is not 0, and the counter has 6 bytes.
local function counter_of(tvb)
    local tail_size = tvb(4, 1):uint()
    return tail_size > 0 and tvb(6, 6) or tvb(4, 8), tail_size
end

local function add_header(tree, tvb)
    add_index(tree, tvb(0, 4))
    local counter, tail_size = counter_of(tvb)
    if tail_size > 0 then
        tree:add(f.tail_size, tvb(4, 1))
        tree:add(f.position, tvb(5, 1))
    end
    tree:add(f.counter, counter)
end

-- Where the next datagram begins, one-based: it has the same index and the counter plus 1, and is
-- a piece of a train or not.
local function find_next(raw, start)
    local bytes = { raw:byte(start + 7, start + 12) }
    for place = 6, 1, -1 do
        bytes[place] = (bytes[place] + 1) % 256
        if bytes[place] ~= 0 then
            break
        end
    end
    local index, counter = raw:sub(start + 1, start + 4), string.char((unpack or table.unpack)(bytes))
    local found = start + SEAL_OVERHEAD
    repeat
        found = raw:find(index, found + 1, true)
    until not found or raw:sub(found + 6, found + 11) == counter
    return found
end

-- Where each of the datagrams begins that the kernel has still to cut (UDP_SEGMENT): zero-based.
local function starts_of(raw)
    local starts, start = {}, 0
    while #raw - start >= SEAL_OVERHEAD do
        table.insert(starts, start)
        local found = find_next(raw, start)
        if not found then
            break
        end
        start = found - 1
    end
    return starts
end

local function add_sealed(tree, tvb)
    local _, tail_size = counter_of(tvb)
    local tag_at = tvb:len() - 16
    local tail_at = tail_size > 0 and tag_at - tail_size or 12
    if tail_at < 12 then
        tree:add_proto_expert_info(malformed)
        return
    end
    if tail_at > 12 then
        tree:add(f.piece, tvb(12, tail_at - 12))
    end
    tree:add(f.ciphertext, tvb(tail_at, tag_at - tail_at))
    tree:add(f.tag, tvb(tag_at, 16))
end

local function dissect_sealed(tvb, pinfo, tree)
    local raw = tvb:raw()
    local starts = starts_of(raw)
    if #starts == 0 then
        tree:add_proto_expert_info(malformed)
        return
    end
    for number, start in ipairs(starts) do
        local size = (starts[number + 1] or #raw) - start
        local branch = tree
        if #starts > 1 then
            branch = tree:add(vipnet, tvb(start, size), "Datagram " .. number .. ", " .. size .. " bytes")
        end
        local datagram = tvb(start, size):tvb()
        add_header(branch, datagram)
        local name = raw:sub(start + 1, start + 12)
        first_seen[name] = first_seen[name] or pinfo.number
        if first_seen[name] ~= pinfo.number then
            branch:add(f.again, first_seen[name]):set_generated()
        end
        add_sealed(branch, datagram)
    end
    local counter = tostring(counter_of(tvb):uint64())
    local many = ""
    if #starts > 1 then
        tree:add(f.count, #starts):set_generated()
        many = ", " .. #starts .. " datagrams"
    end
    pinfo.cols.info = string.format("Sealed, index 0x%08x, counter %s%s", tvb(0, 4):uint(), counter, many)
end

function vipnet.dissector(tvb, pinfo, root)
    if tvb:len() < 12 then
        return 0
    end
    pinfo.cols.protocol = "vipnet"
    local tree = root:add(vipnet, tvb())
    if tvb(0, 4):uint() == 0 then
        dissect_handshake(tvb, pinfo, tree)
    else
        dissect_sealed(tvb, pinfo, tree)
    end
    return tvb:len()
end

vipnet:register_heuristic("udp", function(tvb, pinfo, root)
    if not is_handshake(tvb) then
        return false
    end
    pinfo.conversation = vipnet
    vipnet.dissector(tvb, pinfo, root)
    return true
end)

local registered = nil
local function register_port()
    local ports = DissectorTable.get("udp.port")
    if registered then
        ports:remove(registered, vipnet)
    end
    registered = vipnet.prefs.port
    ports:add(registered, vipnet)
end
vipnet.prefs_changed = register_port
register_port()

-- --- what `vipnet dissect` has opened

local ip, json = Dissector.get("ip"), Dissector.get("json")

local function add_name(tree, field, tvb, at)
    local size = tvb(at, 1):uint()
    tree:add(field, tvb(at + 1, size))
    return at + 1 + size, tvb(at + 1, size):string()
end

function opened.dissector(tvb, pinfo, root)
    local tree = root:add(vipnet, tvb(), "vipnet, opened")
    pinfo.cols.protocol = "vipnet"
    add_header(tree, tvb)
    tree:add(f.kind, tvb(12, 1))
    local kind, at, by, to = tvb(12, 1):uint(), 13, nil, nil
    at, by = add_name(tree, f.sealed_by, tvb, at)
    at, to = add_name(tree, f.sealed_for, tvb, at)
    local title = by .. " to " .. to .. ": " .. (KINDS[kind] or "not readable")
    pinfo.cols.info = title
    if at >= tvb:len() then
        return tvb:len()
    end
    local body = tvb(at)
    if kind == 0 then
        local message = body:string():match('^{"(%w+)"') or "?"
        tree:add(f.message, body, message)
        json:call(body:tvb(), pinfo, tree)
        pinfo.cols.protocol = "vipnet"
        pinfo.cols.info = title .. ", " .. message
    elseif kind == 1 or kind == 2 or kind == 3 then
        ip:call(body:tvb(), pinfo, root)
    elseif kind == 4 then
        tree:add(f.challenge, body(0, math.min(8, body:len())))
    elseif kind == 5 then
        tree:add(f.whole_tag, body(0, 16))
        tree:add(f.last_flags, body(16, 1))
        tree:add(f.trailer, body(17))
    end
    return tvb:len()
end
