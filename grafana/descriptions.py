"""What each panel of the station board shows: what a person reads who points at its title. Thai first, English below."""

from typing import Final


def _both(thai: str, english: str) -> str:
    return f"{thai}\n\n{english}"


BOARD: Final = _both(
    "อุปกรณ์ของหนึ่งสถานี วาดจากสิ่งที่เซิร์ฟเวอร์บันทึกไว้ ไม่มีการคำนวณเวลาทำงานที่หน้านี้",
    "Devices of one station. Drawn from what the fleet server has written; nothing is computed here that counts as uptime.",
)
STATION: Final = _both("เลือกหนึ่งสถานีจากสถานีที่มีอุปกรณ์", "One station of those that have devices")
WORKING_NOW: Final = _both(
    "สัดส่วนของจุดติดตั้งแต่ละชนิดที่มีหลักฐานว่าทำงานอยู่ตอนนี้ ไม่ทราบสถานะไม่นับว่าทำงาน ถ้าไม่มีข้อมูลใหม่ใน 3 นาที จะแสดงว่าไม่มีข้อมูล",
    "Share of positions of each kind that are proven to work now. Unknown does not count as working. No row for 3 minutes: no data.",
)
NOT_WORKING: Final = _both(
    "จุดติดตั้งที่ไม่มีหลักฐานว่าทำงานอยู่ตอนนี้ และอายุของหลักฐานล่าสุด ถ้าไม่มีอายุ หมายถึงไม่เคยเห็นเลย",
    "Positions that are not proven to work now, and the age of the newest evidence of each. No age: never seen.",
)
TIMELINE: Final = _both(
    "สถานะของแต่ละจุด บันทึกนาทีละครั้ง ช่องว่างหมายถึงเซิร์ฟเวอร์ไม่ได้บันทึก เมื่อดูช่วงยาว แต่ละช่องแสดงสถานะล่าสุดของช่องนั้น",
    "State of each position, written once a minute. A gap: the server wrote nothing. On long spans a cell shows its newest state.",
)
PRESSES: Final = _both(
    "รายการใหม่ที่สุดอยู่บน พร้อมเวลาที่ใช้แต่ละช่วง: จากหน้าสัมผัสถึงที่เก็บของโหนด และจากโหนดถึงการจัดเก็บ การกดทดสอบมีเครื่องหมายเสมอ ไม่มีการซ่อน",
    "Newest first, with the time each hop took: contact to the node's outbox, outbox to stored. Drills are marked, never hidden.",
)
FPS: Final = _both(
    "จำนวนภาพต่อวินาทีที่ตรวจรับได้ แยกตามจุด ช่องว่างหมายถึงไม่ได้วัด ไม่ได้หมายความว่ากล้องไม่ส่งภาพ",
    "Pictures a second that the probe received, by position. A gap means that nothing was measured, not that nothing was sent.",
)
KBPS: Final = _both(
    "อัตราข้อมูลของสัญญาณภาพที่ตรวจ หน่วยกิโลบิตต่อวินาที แยกตามจุด",
    "Data rate of the probed stream, kilobits a second, by position.",
)
POWER: Final = _both(
    "กำลังไฟของแต่ละโคมตามที่มิเตอร์วัดได้ หน่วยวัตต์ สั่งเปิดแล้วแต่ใกล้ 0 วัตต์ หมายถึงโคมดับ",
    "Power drawn by each lamp as its meter measures it, watts. Commanded on and near 0 W: the lamp is out.",
)
UPTIME: Final = _both(
    "สัดส่วนของเวลาที่ทำงานในชั่วโมงล่าสุดที่ปิดแล้ว แยกตามชนิด ตามบัญชีเวลา อ่านคู่กับความครอบคลุมของหลักฐาน",
    "Share of commissioned time worked in the newest closed hour, by kind, as the ledger has it. Read it with its coverage.",
)
COVERAGE: Final = _both(
    "สัดส่วนของแต่ละชั่วโมงที่มีหลักฐาน แยกตามจุดและหน้าที่ ลงเวลาไว้ที่ต้นชั่วโมง หลักฐานที่มาช้าทำให้ชั่วโมงนั้นถูกบันทึกใหม่",
    "Share of each hour with evidence, by position and function, dated by the hour's start. Late evidence writes hours again.",
)
HOURS: Final = _both(
    "ผลรวมของชั่วโมงที่ปิดแล้วในช่วงที่เลือก หกส่วนรวมกันเป็นเวลาที่ติดตั้ง ส่วนที่พิสูจน์ย้อนหลังเป็นส่วนหนึ่งของเวลาทำงาน ไม่ได้บวกเพิ่ม",
    "Closed hours of the chosen span, added up. The six parts make commissioned time; replay is a part of working, never beside it.",
)
LOAD: Final = _both("การใช้หน่วยประมวลผลและหน่วยความจำของแต่ละโหนด หน่วยร้อยละ", "Processor and memory in use on each node, percent.")
HEAT: Final = _both(
    "อุณหภูมิหน่วยประมวลผลของแต่ละโหนด หน่วยองศาเซลเซียส Raspberry Pi จะช้าลงตั้งแต่ 80 °C",
    "Temperature of each node's processor, °C. A Raspberry Pi slows down from 80 °C.",
)
HELD: Final = _both(
    "ข้อความสถานะและเหตุการณ์ที่โหนดเก็บไว้จนกว่าเซิร์ฟเวอร์จะแจ้งว่าจัดเก็บแล้ว เส้นที่สูงขึ้นเรื่อย ๆ หมายถึงโหนดส่งไม่ได้",
    "Heartbeats and events that a node holds until the server says that they are stored. A rising line means that it cannot send.",
)
OFFSET: Final = _both(
    "นาฬิกาของแต่ละโหนดต่างจากเซิร์ฟเวอร์เวลาเท่าใด หน่วยมิลลิวินาที ตามที่โหนดทราบ",
    "How far each node's clock is from its time server, milliseconds, as the node knows it.",
)
