package xds

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of istio.networking.nds.v1.NameTable (pkg/dns/proto/nds.proto in istio.io/istio). Its Go type comes
// with that whole module only, so the two fields that are read are decoded here.
const (
	nameTableTable  protowire.Number = 1 // map<string, NameInfo>
	nameInfoIPs     protowire.Number = 1 // repeated string
	mapEntryKey     protowire.Number = 1
	mapEntryMessage protowire.Number = 2
)

// decodeNameTable returns the addresses of every host.
func decodeNameTable(data []byte) (map[string][]string, error) {
	table := map[string][]string{}
	err := eachBytes(data, func(number protowire.Number, entry []byte) error {
		if number != nameTableTable {
			return nil
		}
		var host string
		var addresses []string
		err := eachBytes(entry, func(number protowire.Number, value []byte) error {
			switch number {
			case mapEntryKey:
				host = string(value)
			case mapEntryMessage:
				return eachBytes(value, func(number protowire.Number, value []byte) error {
					if number == nameInfoIPs {
						addresses = append(addresses, string(value))
					}
					return nil
				})
			}
			return nil
		})
		table[host] = addresses
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("decode name table: %w", err)
	}
	return table, nil
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
