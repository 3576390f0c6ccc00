// Package splice changes the text of a YAML or JSON document so that it holds another value. Comments, order and
// formatting stay as they are: every byte outside of what must change is kept.
package splice
