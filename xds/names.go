package xds

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/meshfence/meshfence/policy/hostname"
)

// The fields of istio.networking.nds.v1.NameTable (pkg/dns/proto/nds.proto in istio.io/istio). Its Go type comes
// with that whole module only, so the few fields that are read are decoded here.
const (
	nameTableTable    protowire.Number = 1 // map<string, NameInfo>
	nameInfoIPs       protowire.Number = 1 // repeated string
	nameInfoShortname protowire.Number = 3 // only of Services
	nameInfoNamespace protowire.Number = 4 // only of Services
	mapEntryKey       protowire.Number = 1
	mapEntryMessage   protowire.Number = 2
)

// nameInfo is one entry of the name table.
type nameInfo struct {
	addresses []string
	service   hostname.Host // empty where it is of none
}

// decodeNameTable returns the entry of every host.
func decodeNameTable(data []byte) (map[string]nameInfo, error) {
	table := map[string]nameInfo{}
	err := eachBytes(data, func(number protowire.Number, entry []byte) error {
		if number != nameTableTable {
			return nil
		}
		host, info, err := decodeNameEntry(entry)
		table[host] = info
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decode name table: %w", err)
	}
	return table, nil
}

func decodeNameEntry(entry []byte) (host string, info nameInfo, err error) {
	err = eachBytes(entry, func(number protowire.Number, value []byte) error {
		switch number {
		case mapEntryKey:
			host = string(value)
		case mapEntryMessage:
			return eachBytes(value, info.set)
		}
		return nil
	})
	return host, info, err
}

func (i *nameInfo) set(number protowire.Number, value []byte) error {
	switch number {
	case nameInfoIPs:
		i.addresses = append(i.addresses, string(value))
	case nameInfoShortname:
		i.service.Name = string(value)
	case nameInfoNamespace:
		i.service.Namespace = string(value)
	}
	return nil
}

// eachBytes calls do for every length-delimited field of an encoded message.
func eachBytes(message []byte, do func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
				return protowire.ParseError(n)
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := do(number, value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
