package coap

// messageID tells a message of a peer from all others within EXCHANGE_LIFETIME.
type messageID struct {
	endpoint
	id uint16
}

// history keeps the answers to the latest messages, so that a duplicate gets the
// same answer and is not carried out again (RFC 7252 4.5). The oldest make room
// when it is full. The zero value keeps nothing; size says how many it may.
type history struct {
	size  int
	index map[messageID]int
	slots []slot
	next  int // slot to use next
}

type slot struct {
	id     messageID
	at     int64  // tick of arrival
	answer []byte // none: the request was not confirmable, or its answer is not there yet
}

// find is the slot of a message that came before, nil when it is new.
func (h *history) find(id messageID, now int64) *slot {
	if i, ok := h.index[id]; ok && now-h.slots[i].at < exchangeLifetime {
		return &h.slots[i]
	}
	return nil
}

// add makes room for the answer to a message.
func (h *history) add(id messageID, now int64) *slot {
	if h.index == nil {
		h.index = make(map[messageID]int)
	}
	if len(h.slots) < h.size {
		h.slots = append(h.slots, slot{})
		h.next = len(h.slots) - 1
	}
	i := h.next
	h.next = (i + 1) % h.size
	s := &h.slots[i]
	if h.index[s.id] == i {
		delete(h.index, s.id)
	}
	s.id, s.at, s.answer = id, now, s.answer[:0]
	h.index[id] = i
	return s
}

// forget drops what belongs to a pipe.
func (h *history) forget(pipe uint32) {
	for i := range h.slots {
		if s := &h.slots[i]; s.id.pipe == pipe && s.id != (messageID{}) {
			if h.index[s.id] == i {
				delete(h.index, s.id)
			}
			*s = slot{answer: s.answer[:0]}
		}
	}
}
