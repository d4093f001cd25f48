package inflate

// pairLiterals makes entries of two literals where two codes fit into the main
// table's index, if that will pay.
func (t *tables) pairLiterals(lens []uint8) {
}
