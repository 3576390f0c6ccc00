package policy

import "fmt"

// ConfigMapSource says how the FenceConfig in the ConfigMap of an install namespace is read. Rules are those that exemptions
// may name.
func ConfigMapSource(installNamespace string, rules []string) Source {
	return Source{
		File:             fmt.Sprintf("ConfigMap %s/%s", installNamespace, ConfigMapName),
		InstallNamespace: installNamespace,
		Rules:            rules,
	}
}

// ParseConfigMap reads the FenceConfig in the data of a ConfigMap. The error is a *ConfigError.
func ParseConfigMap(src Source, data map[string]string) (*Config, error) {
	text, ok := data[ConfigMapKey]
	if !ok {
		return nil, &ConfigError{Problems: []Problem{{File: src.File, Message: fmt.Sprintf("must have the key %s", ConfigMapKey)}}}
	}
	return ParseConfig(src, []byte(text))
}

// SameConfig reports whether the data of two ConfigMaps hold the same FenceConfig, or none.
func SameConfig(a, b map[string]string) bool {
	x, inOne := a[ConfigMapKey]
	y, inOther := b[ConfigMapKey]
	return x == y && inOne == inOther
}
