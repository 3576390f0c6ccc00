package jsonview

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how many mappings and lists within one another are skipped; the library takes more.
const maxDepth = 500

// cursor walks over a JSON text. Each of its methods that return a bool reports whether what stands there is ordinary; if
// not, nothing more can be read.
type cursor struct {
	data []byte
	at   int
	// seen are short strings of before: in one object most are there more than once.
	seen [32]string
}

// peek returns the first byte that is no space; 0 at the end.
func (c *cursor) peek() byte {
	for ; c.at < len(c.data); c.at++ {
		switch b := c.data[c.at]; b {
		case ' ', '\n', '\t', '\r':
		default:
			return b
		}
	}
	return 0
}

func (c *cursor) atEnd() bool { return c.peek() == 0 && c.at == len(c.data) }

// take steps over a byte.
func (c *cursor) take(b byte) bool {
	if c.peek() != b {
		return false
	}
	c.at++
	return true
}

// each visits the items of a list or the members of a mapping, where item starts at the name.
func (c *cursor) each(open, end byte, item func() bool) bool {
	if !c.take(open) {
		return false
	}
	if c.take(end) {
		return true
	}
	for item() {
		if c.take(end) {
			return true
		}
		if !c.take(',') {
			return false
		}
	}
	return false
}

// name steps over the name of a member and its colon, and returns the name as it is written; one with an escape is not
// ordinary.
func (c *cursor) name() (name []byte, ok bool) {
	if !c.take('"') {
		return nil, false
	}
	start := c.at
	c.plain()
	name = c.data[start:c.at]
	return name, c.at < len(c.data) && c.take('"') && c.take(':')
}

// text reads a string. One that is not UTF-8 is not ordinary.
func (c *cursor) text() (text string, ok bool) {
	if !c.take('"') {
		return "", false
	}
	start := c.at
	c.plain()
	if c.at < len(c.data) && c.data[c.at] == '"' {
		raw := c.data[start:c.at]
		c.at++
		return c.copied(raw), utf8.Valid(raw)
	}
	if c.at = start - 1; !c.skipText() {
		return "", false
	}
	unquoted, err := jsontext.AppendUnquote(nil, c.data[start-1:c.at])
	return string(unquoted), err == nil
}

// copied returns text as a string.
func (c *cursor) copied(text []byte) string {
	n := len(text)
	if n == 0 || n > 64 {
		return string(text)
	}
	seen := &c.seen[(n+int(text[0])+7*int(text[n/2])+31*int(text[n-1]))%len(c.seen)]
	if *seen != string(text) {
		*seen = string(text)
	}
	return *seen
}

// plain steps over the bytes of a string that stand for themselves.
func (c *cursor) plain() {
	const each = 0x0101010101010101
	for ; c.at+8 <= len(c.data); c.at += 8 {
		// Eight at a time: below, the highest bit of a byte is set if the byte is a quote, a backslash or a control
		// character; above the first of those it may be set for others, too.
		eight := binary.LittleEndian.Uint64(c.data[c.at:])
		quote, backslash := eight^each*'"', eight^each*'\\'
		found := (quote-each)&^quote | (backslash-each)&^backslash | (eight-each*' ')&^eight
		if found &= each << 7; found != 0 {
			c.at += bits.TrailingZeros64(found) / 8
			return
		}
	}
	for ; c.at < len(c.data); c.at++ {
		if b := c.data[c.at]; b == '"' || b == '\\' || b < ' ' {
			return
		}
	}
}

// skip steps over a value.
func (c *cursor) skip(depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch c.peek() {
	case '"':
		return c.skipText()
	case '{':
		return c.each('{', '}', func() bool { return c.peek() == '"' && c.skipText() && c.take(':') && c.skip(depth+1) })
	case '[':
		return c.each('[', ']', func() bool { return c.skip(depth + 1) })
	case 't':
		return c.word("true")
	case 'f':
		return c.word("false")
	case 'n':
		return c.word("null")
	}
	return c.skipNumber()
}

// word steps over a word.
func (c *cursor) word(word string) bool {
	if c.peek(); len(c.data)-c.at < len(word) || string(c.data[c.at:c.at+len(word)]) != word {
		return false
	}
	c.at += len(word)
	return true
}

// skipText steps over a string.
func (c *cursor) skipText() bool {
	for c.at++; ; {
		if c.plain(); c.at == len(c.data) {
			return false
		}
		switch c.data[c.at] {
		case '"':
			c.at++
			return true
		case '\\':
			if !c.skipEscape() {
				return false
			}
		default:
			return false
		}
	}
}

// skipEscape steps over a backslash and what it stands before.
func (c *cursor) skipEscape() bool {
	if c.at++; c.at == len(c.data) {
		return false
	}
	b := c.data[c.at]
	c.at++
	switch b {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			if c.at == len(c.data) || !isHex(c.data[c.at]) {
				return false
			}
			c.at++
		}
		return true
	}
	return false
}

func isHex(b byte) bool { return isDigit(b) || 'a' <= b|' ' && b|' ' <= 'f' }

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// skipNumber steps over a number.
func (c *cursor) skipNumber() bool {
	if c.next('-'); !c.next('0') && !c.digits() {
		return false
	}
	if c.next('.') && !c.digits() {
		return false
	}
	if c.next('e') || c.next('E') {
		if !c.next('+') {
			c.next('-')
		}
		return c.digits()
	}
	return true
}

// next steps over a byte if it is the next one.
func (c *cursor) next(b byte) bool {
	if c.at == len(c.data) || c.data[c.at] != b {
		return false
	}
	c.at++
	return true
}

// digits steps over one digit or more.
func (c *cursor) digits() bool {
	start := c.at
	for c.at < len(c.data) && isDigit(c.data[c.at]) {
		c.at++
	}
	return c.at > start
}

// integer reads a whole number that is not too large for every type; minus zero is not ordinary.
func (c *cursor) integer() (n int64, ok bool) {
	c.peek()
	negative := c.next('-')
	start := c.at
	if c.next('0') {
		return 0, !negative && (c.at == len(c.data) || !isDigit(c.data[c.at]))
	}
	const longest = 18
	if !c.digits() || c.at-start > longest {
		return 0, false
	}
	for _, b := range c.data[start:c.at] {
		n = n*10 + int64(b-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}
