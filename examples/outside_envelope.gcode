; outside_envelope: a program that must be refused. The move on line 9 leaves the bed on purpose: X 400 mm, where
; the X axis of an MK3S ends at 255 mm. No heater, no fan, no filament.
G21 ; millimetres
G90 ; absolute coordinates
M83 ; relative extruder (not used)
G28 ; home
G1 Z10 F720
G1 X50 Y50 F6000 ; still on the bed
G1 X400 Y50 F6000 ; outside
G1 X50 Y50 F6000
M84 ; motors off
