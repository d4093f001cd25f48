package seccomp

// emitter writes the part of a filter for one kind of calls.
type emitter struct {
	*compiler
	narrow bool    // arguments are words of 32 bits
	done   []label // where each decision is, once it is written; 0 before
	memo   map[point]label
}

// tree writes a binary search for the number in the accumulator.
func (e *emitter) tree(spans []span) (label, error) {
	if len(e.asm.code) > maxInstructions {
		return 0, errTooLong
	}
	if len(spans) == 1 {
		return e.decision(spans[0].decision)
	}
	mid := len(spans) / 2
	no, err := e.tree(spans[:mid])
	if err != nil {
		return 0, err
	}
	yes, err := e.tree(spans[mid:])
	if err != nil {
		return 0, err
	}
	return e.asm.jump(jumpGe, spans[mid].from, yes, no), nil
}

// decision writes a decision, or finds where it is already.
func (e *emitter) decision(i int) (label, error) {
	d := &e.decisions[i]
	if len(d.rules) == 0 {
		return e.asm.ret(d.verdict), nil
	}
	if e.done[i] == 0 {
		e.memo = make(map[point]label)
		l, err := e.rule(d, point{})
		if err != nil {
			return 0, err
		}
		e.done[i] = l
	}
	return e.done[i], nil
}

// point is a place in the check of arguments, and what is known there.
type point struct {
	rule, cond int
	known      knowledge
}

// knowledge is what the tests so far have shown. Most conditions compare small
// numbers, so the upper halves of arguments are asked for zero again and again:
// it is enough to ask once.
type knowledge struct {
	loaded  uint8 // 1 + the word in the accumulator; 0 is none of the arguments
	zero    uint8 // bit n: the upper half of argument n is zero
	nonzero uint8 // bit n: it is not
}

// test compares one word of an argument.
type test struct {
	word uint8 // 2*argument, +1 for the upper half
	code uint16
	k    uint32
	mask uint32 // for the comparison of some bits; 0 is all
}

// next is what to write for the outcome of a test.
type next func(knowledge) (label, error)

// rule writes the check of one rule and of those after it.
func (e *emitter) rule(d *decision, p point) (label, error) {
	if p.rule == len(d.rules) {
		return e.asm.ret(d.verdict), nil
	}
	r := d.rules[p.rule]
	if p.cond == len(r.conds) {
		return e.asm.ret(r.action), nil
	}
	if l, ok := e.memo[p]; ok {
		return l, nil
	}
	if len(e.asm.code) > maxInstructions {
		return 0, errTooLong
	}
	yes := func(k knowledge) (label, error) { return e.rule(d, point{p.rule, p.cond + 1, k}) }
	no := func(k knowledge) (label, error) { return e.rule(d, point{p.rule + 1, 0, k}) }
	l, err := e.cond(&r.conds[p.cond], p.known, yes, no)
	if err == nil {
		e.memo[p] = l
	}
	return l, err
}

// cond writes one comparison of an argument.
func (e *emitter) cond(c *cond, known knowledge, yes, no next) (label, error) {
	switch c.op {
	case opNotEqual:
		return e.equal(c, known, no, yes)
	case opLess:
		return e.greater(c, jumpGe, known, no, yes)
	case opLessEqual:
		return e.greater(c, jumpGt, known, no, yes)
	case opGreater:
		return e.greater(c, jumpGt, known, yes, no)
	case opGreaterEqual:
		return e.greater(c, jumpGe, known, yes, no)
	case opMasked:
		return e.masked(c, known, yes, no)
	case opLowNotEqual:
		return e.test(test{word: c.low(), code: jumpEq, k: uint32(c.value)}, known, no, yes)
	default:
		return e.equal(c, known, yes, no)
	}
}

func (c *cond) low() uint8  { return 2 * c.index }
func (c *cond) high() uint8 { return 2*c.index + 1 }

func (e *emitter) equal(c *cond, known knowledge, yes, no next) (label, error) {
	low := func(k knowledge) (label, error) {
		return e.test(test{word: c.low(), code: jumpEq, k: uint32(c.value)}, k, yes, no)
	}
	if e.narrow {
		return low(known)
	}
	return e.test(test{word: c.high(), code: jumpEq, k: uint32(c.value >> 32)}, known, low, no)
}

// greater compares by code, jumpGt or jumpGe.
func (e *emitter) greater(c *cond, code uint16, known knowledge, yes, no next) (label, error) {
	low := func(k knowledge) (label, error) {
		return e.test(test{word: c.low(), code: code, k: uint32(c.value)}, k, yes, no)
	}
	high := uint32(c.value >> 32)
	switch {
	case e.narrow:
		return low(known)
	case high == 0:
		return e.test(test{word: c.high(), code: jumpEq, k: 0}, known, low, yes)
	}
	smaller := func(k knowledge) (label, error) {
		return e.test(test{word: c.high(), code: jumpEq, k: high}, k, low, no)
	}
	return e.test(test{word: c.high(), code: jumpGt, k: high}, known, yes, smaller)
}

// masked compares the bits of an argument that are set in the mask.
func (e *emitter) masked(c *cond, known knowledge, yes, no next) (label, error) {
	low := func(k knowledge) (label, error) {
		return e.half(c.low(), uint32(c.value), uint32(c.two), k, yes, no)
	}
	if e.narrow {
		return low(known)
	}
	return e.half(c.high(), uint32(c.value>>32), uint32(c.two>>32), known, low, no)
}

func (e *emitter) half(word uint8, mask, want uint32, known knowledge, yes, no next) (label, error) {
	switch {
	case mask == 0:
		return yes(known)
	case mask == 0xffffffff:
		return e.test(test{word: word, code: jumpEq, k: want}, known, yes, no)
	case want == 0:
		return e.test(test{word: word, code: jumpSet, k: mask}, known, no, yes)
	}
	return e.test(test{word: word, code: jumpEq, k: want, mask: mask}, known, yes, no)
}

// test writes one comparison, unless its outcome is known.
func (e *emitter) test(t test, known knowledge, yes, no next) (label, error) {
	bit := uint8(0)
	if t.word%2 == 1 {
		bit = 1 << (t.word / 2)
	}
	if known.zero&bit != 0 {
		if zeroPasses(t) {
			return yes(known)
		}
		return no(known)
	}
	isZero := t.code == jumpEq && t.k == 0 && t.mask == 0
	if known.nonzero&bit != 0 && isZero {
		return no(known)
	}
	after := known
	after.loaded = 1 + t.word
	if t.mask != 0 {
		after.loaded = 0 // the accumulator is spoilt
	}
	ifTrue, ifFalse := after, after
	if isZero {
		ifTrue.zero |= bit
		ifFalse.nonzero |= bit
	}
	n, err := no(ifFalse)
	if err != nil {
		return 0, err
	}
	y, err := yes(ifTrue)
	if err != nil {
		return 0, err
	}
	l := e.asm.jump(t.code, t.k, y, n)
	if t.mask != 0 {
		l = e.asm.then(opAnd, t.mask, l)
	}
	if known.loaded != 1+t.word {
		l = e.asm.then(opLoad, offsetArgs+4*uint32(t.word), l)
	}
	return l, nil
}

// zeroPasses reports the outcome of a test on a word that is zero.
func zeroPasses(t test) bool {
	return (t.code == jumpEq || t.code == jumpGe) && t.k == 0
}
