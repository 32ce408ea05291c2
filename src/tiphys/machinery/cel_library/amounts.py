"""Quantities in CEL: ``quantity('1.5Gi').isGreaterThan(quantity('1Gi'))``."""

from __future__ import annotations

from tiphys.lang.cel.declarations import Functions, member, plain
from tiphys.lang.cel.types import BOOL, DOUBLE, INT, STRING, struct
from tiphys.lang.cel.values import Failure, Opaque
from tiphys.machinery import quantities

TYPE = struct("kubernetes.Quantity")


class Amount(Opaque):
    """Two are equal when they are the same amount, however written."""

    __slots__ = ("quantity",)
    cel_type = TYPE

    def __init__(self, quantity: quantities.Quantity) -> None:
        self.quantity = quantity

    def equal_to(self, other: object) -> bool:
        return isinstance(other, Amount) and self.quantity.compare(other.quantity) == 0


def _parse(text: str) -> Amount | Failure:
    try:
        return Amount(quantities.parse(text))
    except quantities.QuantityError as err:
        return Failure(str(err))


def _integer(amount: Amount) -> int | Failure:
    found = amount.quantity.as_int64()
    return Failure("cannot convert value to integer") if found is None else found


def _compare(one: Amount, other: Amount) -> int:
    return one.quantity.compare(other.quantity)


FUNCTIONS: Functions = {
    "quantity": (plain("string_to_quantity", (STRING,), TYPE, _parse),),
    "isQuantity": (plain("is_quantity_string", (STRING,), BOOL, quantities.is_quantity),),
    # A free function although named like an accessor, as the original declares it.
    "sign": (plain("quantity_sign", (TYPE,), INT, lambda amount: amount.quantity.sign),),
    "isGreaterThan": (member("quantity_is_greater_than", (TYPE, TYPE), BOOL, lambda a, b: _compare(a, b) > 0),),
    "isLessThan": (member("quantity_is_less_than", (TYPE, TYPE), BOOL, lambda a, b: _compare(a, b) < 0),),
    "compareTo": (member("quantity_compare_to", (TYPE, TYPE), INT, _compare),),
    "asApproximateFloat": (member("quantity_get_float", (TYPE,), DOUBLE, lambda amount: float(amount.quantity)),),
    "asInteger": (member("quantity_get_int", (TYPE,), INT, _integer),),
    "isInteger": (member("quantity_is_integer", (TYPE,), BOOL, lambda amount: amount.quantity.as_int64() is not None),),
    "add": (
        member("quantity_add", (TYPE, TYPE), TYPE, lambda a, b: Amount(a.quantity + b.quantity)),
        member("quantity_add_int", (TYPE, INT), TYPE, lambda a, n: Amount(a.quantity + quantities.Quantity(n))),
    ),
    "sub": (
        member("quantity_sub", (TYPE, TYPE), TYPE, lambda a, b: Amount(a.quantity - b.quantity)),
        member("quantity_sub_int", (TYPE, INT), TYPE, lambda a, n: Amount(a.quantity - quantities.Quantity(n))),
    ),
}
