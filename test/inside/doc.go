// Package inside holds the tests of berth in containers of other engines, under
// filters and in folders that were made a root: what works there works, and what
// does not is said in one line with the way out.
package inside
