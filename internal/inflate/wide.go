package inflate

func (d *decoder) fastWide() bool { d.symbol(); return false }
