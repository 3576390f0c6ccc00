package controller

// LacksReserved is lacksReserved of rules by name, of which each has the reserved subset or not.
func LacksReserved(names []string, reserved map[string]bool) string {
	var rules []storedRule
	for _, name := range names {
		rules = append(rules, storedRule{name, reserved[name]})
	}
	return lacksReserved(rules)
}
